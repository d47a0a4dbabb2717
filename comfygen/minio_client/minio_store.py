"""MinioStore: the store on MinIO, or any other S3 server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from comfygen.errors import NoSuchBucket, NoSuchKey, StoreError
from comfygen.minio_client import bucket_setup, upload
from comfygen.minio_client.bucket_setup import ConditionalWrites
from comfygen.minio_client.connection import Connection, open_connection
from comfygen.minio_client.faults import STRANGE, Unexplained, translated
from comfygen.minio_client.notifications import Notifications
from comfygen.minio_client.settings import SYSTEM, ListenSettings, StoreSettings, Timing
from comfygen.minio_client.stream import ListenStream, open_stream
from comfygen.store import Hint, Stored, check_key

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import (
        GetObjectOutputTypeDef,
        HeadObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
        ObjectTypeDef,
    )

_Subscriptions: TypeAlias = list[Notifications]  # within the class, `list` is a verb


class MinioStore:
    """A Store whose keys are relative to the prefix of its settings. Errors: the StoreError tree and KeyInvalid.

    A conditional write may say PreconditionFailed about our own write, when its acknowledgement was lost and it was
    sent again: whoever writes conditionally puts a token into the body, reads it back and compares.
    """

    def __init__(self, connection: Connection, *, timing: Timing = SYSTEM) -> None:
        self.settings = connection.settings
        self._connection = connection
        self._s3 = connection.s3
        self._timing = timing
        self._subscriptions: _Subscriptions = []

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: StoreSettings, *, timing: Timing = SYSTEM) -> AsyncIterator[MinioStore]:
        """Open the clients. Nothing is sent yet, so a server that is down is no obstacle."""
        async with open_connection(settings) as connection:
            yield cls(connection, timing=timing)

    # The port

    async def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Write an object; its sha256 goes into the metadata. With `if_none_match`, only where there is none."""
        conditions = {"IfNoneMatch": "*"} if if_none_match else {}
        return await self._put(key, body, content_type, metadata, conditions)

    async def put_if_match(
        self, key: str, body: bytes | Path, etag: str, *, content_type: str = "application/json"
    ) -> Stored:
        """Overwrite exactly the object with this etag. Raises PreconditionFailed, or NoSuchKey when it is gone."""
        return await self._put(key, body, content_type, None, {"IfMatch": f'"{etag}"'})

    async def get(self, key: str, *, max_bytes: int | None = None) -> tuple[bytes, Stored]:
        """The bytes and what they are. Raises NoSuchKey; StoreError, before reading, if larger than `max_bytes`."""
        whole = self._whole(key)
        try:
            with translated("s3:GetObject", whole):
                answer = await self._s3.get_object(Bucket=self.settings.bucket, Key=whole)
                async with answer["Body"] as stream:
                    described = _described(key, answer)
                    if max_bytes is not None and described.size > max_bytes:
                        raise StoreError(f"{key} has {described.size} bytes; at most {max_bytes} are read.")
                    return await stream.read(), described
        except Unexplained as exc:
            raise await self._missing(exc) from exc

    async def head(self, key: str) -> Stored:
        """What an object is. Raises NoSuchKey; NoSuchBucket when all of it is gone."""
        whole = self._whole(key)
        try:
            with translated("s3:GetObject", whole):
                return _described(key, await self._s3.head_object(Bucket=self.settings.bucket, Key=whole))
        except Unexplained as exc:
            raise await self._missing(exc) from exc

    async def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Stored]:
        """Every object below a prefix, in byte order. Raises when a page fails, so that no list is silently short."""
        async for page in self._pages(prefix, start_after=start_after):
            for item in page.get("Contents", []):
                if item["Key"] != self.settings.prefix:
                    yield self._listed(item)

    async def list_direct(self, prefix: str = "") -> AsyncIterator[Stored]:
        """The objects right below a prefix, without those of its folders."""
        async for page in self._pages(prefix, delimiter="/"):
            for item in page.get("Contents", []):
                if item["Key"] != self.settings.prefix + prefix:
                    yield self._listed(item)

    @asynccontextmanager
    async def listen(self, prefix: str = "") -> AsyncIterator[AsyncIterator[Hint]]:
        """Hints about changes below a prefix, from the source that the settings name, or by polling."""
        subscription = self.notifications(prefix)
        self._subscriptions.append(subscription)
        try:
            async with subscription.run() as hints:
                yield hints
        finally:
            self._subscriptions.remove(subscription)

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        whole = self._whole(key)
        with translated("s3:DeleteObject", whole):
            await self._s3.delete_object(Bucket=self.settings.bucket, Key=whole)

    def url(self, key: str) -> str:
        """Where a person finds the object: signed for a while if the policy says so, else its plain address."""
        if self.settings.policy == "presigned":
            return self.presign(key, self.settings.presign_seconds)
        return self.settings.address(check_key(key))

    # What only a bucket has

    def presign(self, key: str, seconds: int) -> str:
        """An address under which anybody can read the object for so many seconds (a week at most)."""
        return self._connection.presigned(self.settings.address(check_key(key)), seconds)

    async def copy(self, source_key: str, target_key: str, *, source_etag: str) -> Stored:
        """Copy exactly the version with that etag. Raises PreconditionFailed when the source is another one now."""
        source, target = self._whole(source_key), self._whole(target_key)
        with translated("s3:PutObject", target):
            await self._s3.copy_object(
                Bucket=self.settings.bucket,
                Key=target,
                CopySource={"Bucket": self.settings.bucket, "Key": source},
                CopySourceIfMatch=f'"{source_etag}"',
            )
        return await self.head(target_key)

    @property
    def subscriptions(self) -> tuple[Notifications, ...]:
        """Whoever listens now, with its state."""
        return tuple(self._subscriptions)

    def offer(self, body: bytes) -> str | None:
        """Take a webhook's body to whoever listens. The reason if it cannot be read, which is no error."""
        reasons = [subscription.offer(body) for subscription in self._subscriptions]
        return next((reason for reason in reasons if reason), None)

    def notifications(self, prefix: str = "", *, settings: ListenSettings | None = None) -> Notifications:
        """A subscription of one's own: `run` it, look at its `state`, `offer` it webhooks."""
        return Notifications(self, prefix=prefix, settings=settings or self.settings.listening, timing=self._timing)

    def open_stream(self, settings: ListenSettings) -> AbstractAsyncContextManager[ListenStream]:
        """One connection to the server's own notifications (MinIO, RustFS)."""
        return open_stream(self._connection, settings)

    async def bucket_exists(self) -> bool:
        return await bucket_setup.bucket_exists(self._connection)

    async def ensure_bucket(self) -> bool:
        """Make the bucket if there is none; whether it was made."""
        return await bucket_setup.ensure_bucket(self._connection)

    async def policy(self) -> Mapping[str, object] | None:
        """The bucket's policy document."""
        return await bucket_setup.read_policy(self._connection)

    async def apply_policy(self, document: Mapping[str, object] | None) -> None:
        """Set the bucket's policy document; None removes it."""
        await bucket_setup.write_policy(self._connection, document)

    async def sweep_multipart(self, before: datetime) -> int:
        """Abort uploads below our prefix that began before a time and never ended; how many."""
        return await bucket_setup.sweep_multipart(self._connection, before)

    async def probe_conditional(self, token: str) -> ConditionalWrites:
        """Find out whether this server keeps the promises of conditional writes. `token` names the probe object."""
        return await bucket_setup.probe_conditional(self, token)

    # How it is done

    def _whole(self, key: str) -> str:
        """The key in the bucket; raises KeyInvalid for one that a server would refuse."""
        check_key(key)
        return check_key(self.settings.prefix + key)

    async def _put(
        self,
        key: str,
        body: bytes | Path,
        content_type: str,
        metadata: Mapping[str, str] | None,
        conditions: Mapping[str, Any],
    ) -> Stored:
        whole = self._whole(key)
        prepared = await upload.prepare(
            self.settings.bucket, whole, body, content_type=content_type, metadata=metadata, conditions=conditions
        )
        etag = await upload.send(self._s3, prepared, part_bytes=self.settings.part_bytes)
        return upload.stored(key, prepared, etag)

    async def _missing(self, unexplained: Unexplained) -> StoreError:
        """What is missing: a HEAD says 404 for the object and for the bucket alike."""
        if await self.bucket_exists():
            return NoSuchKey(unexplained.message)
        return NoSuchBucket(f"The bucket {self.settings.bucket} does not exist.")

    async def _pages(
        self, prefix: str, *, start_after: str = "", delimiter: str = ""
    ) -> AsyncIterator[ListObjectsV2OutputTypeDef]:
        """Page after page by its token; botocore's paginator would end quietly where a server forgets one."""
        if {".", ".."} & set(prefix.split("/")):
            return  # MinIO refuses to look, and there can be nothing
        settings = self.settings
        request: dict[str, Any] = {"Bucket": settings.bucket, "Prefix": settings.prefix + prefix}
        request |= {"MaxKeys": settings.page}
        request |= {"Delimiter": delimiter} if delimiter else {}
        request |= {"StartAfter": settings.prefix + start_after} if start_after else {}
        token: str | None = ""
        while token is not None:
            page = await self._page(request | ({"ContinuationToken": token} if token else {}))
            yield page
            following = page.get("NextContinuationToken") if page["IsTruncated"] else None
            if page["IsTruncated"] and following in (None, "", token):
                raise StoreError("The server's listing ends in the middle.", hint=STRANGE.hint)
            token = following

    async def _page(self, request: Mapping[str, Any]) -> ListObjectsV2OutputTypeDef:
        place = f"{self.settings.bucket}/{request['Prefix']}"
        try:
            with translated("s3:ListBucket", place):
                page = await self._s3.list_objects_v2(**request)
                page["IsTruncated"]  # else it is no listing at all, and must not pass for an empty one
                return page
        except Unexplained as exc:
            raise StoreError(exc.message, hint=STRANGE.hint) from exc

    def _listed(self, item: ObjectTypeDef) -> Stored:
        return Stored(
            key=item["Key"].removeprefix(self.settings.prefix),
            etag=upload.bare(item["ETag"]),
            size=item["Size"],
            modified=item["LastModified"],
        )


def _described(key: str, answer: GetObjectOutputTypeDef | HeadObjectOutputTypeDef) -> Stored:
    return Stored(
        key=key,
        etag=upload.bare(answer["ETag"]),
        size=answer["ContentLength"],
        modified=answer["LastModified"],
        content_type=answer.get("ContentType"),
        metadata=answer["Metadata"],
    )
