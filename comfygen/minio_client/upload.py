"""One upload: a single PUT below a bound, parts above it; whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfygen.errors import NoSuchKey, StoreError, StoreUnavailable
from comfygen.minio_client.faults import NoSuchUpload, translated
from comfygen.store import Stored

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

MAX_METADATA_BYTES = 2048
MAX_PARTS = 10_000
SHA256 = "sha256"
ABORT_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What is to be written where. `key` is the whole key in the bucket; `conditions` are headers such as IfMatch."""

    bucket: str
    key: str
    body: bytes | Path
    size: int
    content_type: str
    metadata: Mapping[str, str]
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self.key}

    @property
    def about(self) -> dict[str, Any]:
        return {"ContentType": self.content_type, "Metadata": self.metadata}

    def chunks(self, part_bytes: int) -> list[tuple[int, int]]:
        """Offset and length of every part."""
        part = max(part_bytes, -(-self.size // MAX_PARTS))
        return [(start, min(part, self.size - start)) for start in range(0, self.size, part)]

    async def read(self, start: int, length: int) -> bytes:
        """Some of the body; files are read on a thread. Raises StoreError when the file cannot be read."""
        if isinstance(self.body, bytes):
            return self.body[start : start + length]
        with _local(self.body):
            return await asyncio.to_thread(_read, self.body, start, length)


async def prepare(
    bucket: str,
    key: str,
    body: bytes | Path,
    *,
    content_type: str,
    metadata: Mapping[str, str] | None,
    conditions: Mapping[str, Any],
) -> Upload:
    """An upload with its size and sha256, whose metadata a server will take."""
    if isinstance(body, bytes):
        size, sha256 = len(body), hashlib.sha256(body).hexdigest()
    else:
        with _local(body):
            size, sha256 = await asyncio.to_thread(_measure, body)
    if (metadata or {}).get(SHA256, sha256) != sha256:
        raise StoreError(f"{key}: the bytes are not those that were announced (sha256).")
    return Upload(
        bucket=bucket,
        key=key,
        body=body,
        size=size,
        content_type=content_type,
        metadata=checked_metadata({SHA256: sha256, **(metadata or {})}),
        conditions=conditions,
    )


def checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata; raises StoreError for what a server would refuse (headers hold ASCII, and 2 kB of it)."""
    for name, value in metadata.items():
        if not (name + value).isascii() or not (name + value).isprintable():
            hint = "Metadata holds ids and hashes; texts belong in the sidecar."
            raise StoreError(f"The metadata {name!r} has characters beyond ASCII.", hint=hint)
    size = sum(len(name) + len(value) for name, value in metadata.items())
    if size > MAX_METADATA_BYTES:
        raise StoreError(f"The metadata has {size} bytes, at most {MAX_METADATA_BYTES} are possible.")
    return dict(metadata)


async def send(s3: S3Client, upload: Upload, *, part_bytes: int) -> str:
    """Write the object; the etag. Raises the StoreError tree, PreconditionFailed when a condition does not hold."""
    if upload.size > part_bytes:
        return await _send_parts(s3, upload, part_bytes)
    body = await upload.read(0, upload.size)
    with translated("s3:PutObject", upload.key):
        answer = await s3.put_object(**upload.target, **upload.about, **upload.conditions, Body=body)
        return bare(answer["ETag"])


async def _send_parts(s3: S3Client, upload: Upload, part_bytes: int) -> str:
    with translated("s3:PutObject", upload.key):
        upload_id = (await s3.create_multipart_upload(**upload.target, **upload.about))["UploadId"]
    complete = False
    try:
        parts = [
            await _send_part(s3, upload, upload_id, number, start, length)
            for number, (start, length) in enumerate(upload.chunks(part_bytes), 1)
        ]
        etag = await _complete(s3, upload, upload_id, parts)
        complete = True
        return etag
    finally:
        if not complete:
            await abort(s3, upload.bucket, upload.key, upload_id)


async def _send_part(
    s3: S3Client, upload: Upload, upload_id: str, number: int, start: int, length: int
) -> dict[str, Any]:
    body = await upload.read(start, length)
    with translated("s3:PutObject", upload.key):
        answer = await s3.upload_part(**upload.target, UploadId=upload_id, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}


async def _complete(s3: S3Client, upload: Upload, upload_id: str, parts: list[dict[str, Any]]) -> str:
    whole: Any = {"Parts": parts}
    try:
        with translated("s3:PutObject", upload.key):
            answer = await s3.complete_multipart_upload(
                **upload.target, **upload.conditions, UploadId=upload_id, MultipartUpload=whole
            )
            return bare(answer["ETag"])
    except (NoSuchUpload, StoreUnavailable) as exc:
        # The acknowledgement may have been lost: a repeated Complete says NoSuchUpload, though all is well.
        if (etag := await _etag_if_there(s3, upload)) is None:
            raise StoreUnavailable(f"The upload of {upload.key} did not complete.", hint=str(exc)) from exc
        return etag


async def _etag_if_there(s3: S3Client, upload: Upload) -> str | None:
    """The etag of the object if it is what was sent, by size and sha256."""
    try:
        with translated("s3:GetObject", upload.key):
            found = await s3.head_object(**upload.target)
            same = (found["ContentLength"], found["Metadata"].get(SHA256)) == (upload.size, upload.metadata[SHA256])
            return bare(found["ETag"]) if same else None
    except (NoSuchKey, StoreUnavailable):
        return None


async def abort(s3: S3Client, bucket: str, key: str, upload_id: str) -> bool:
    """Give an upload up, so that its parts take no room; whether that worked. The sweep finds what stays behind."""
    with contextlib.suppress(StoreError, TimeoutError):
        async with asyncio.timeout(ABORT_SECONDS):
            with translated("s3:AbortMultipartUpload", key):
                await s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
                return True
    return False


def bare(etag: str) -> str:
    """An etag without the quotes of its header, as events tell it."""
    return etag.strip('"')


def stored(key: str, upload: Upload, etag: str) -> Stored:
    """What was written, under its key below the prefix."""
    return Stored(
        key=key, etag=etag, size=upload.size, content_type=upload.content_type, metadata=dict(upload.metadata)
    )


@contextlib.contextmanager
def _local(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreError(f"{path}: {exc.strerror}.", hint="The file to upload cannot be read.") from exc


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)
