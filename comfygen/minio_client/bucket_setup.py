"""The bucket itself: making it, its policy, and what it promises about conditional writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from comfygen.errors import NoSuchBucket, NoSuchKey, PreconditionFailed, StoreError
from comfygen.minio_client.connection import Connection
from comfygen.minio_client.faults import NoSuchPolicy, translated
from comfygen.minio_client.upload import abort
from comfygen.store import Stored

PROBE_FOLDER = ".comfygen/probe/"
STALE_ETAG = "00000000000000000000000000000000"


class ConditionalWrites(StrEnum):
    """What a server does with If-None-Match and If-Match on writes."""

    SAFE = "safe"  # one writer wins, the others hear of it: several daemons may share a prefix
    IGNORED = "ignored"  # everyone wins (MinIO before 2024-05-07, Garage): single-daemon mode
    BROKEN = "broken"  # nobody wins (MinIO 2025-09-06), or conditions are refused: single-daemon mode


class Conditional(Protocol):
    """The store, as far as the probe needs it."""

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> Stored: ...

    async def put_if_match(self, key: str, body: bytes, etag: str) -> Stored: ...

    async def get(self, key: str, *, max_bytes: int | None = None) -> tuple[bytes, Stored]: ...

    async def delete(self, key: str) -> None: ...


async def bucket_exists(connection: Connection) -> bool:
    """Whether there is a bucket of our name. Raises StoreDenied when the server will not say."""
    try:
        with translated("s3:ListBucket", connection.settings.bucket):
            await connection.s3.head_bucket(Bucket=connection.settings.bucket)
    except (NoSuchBucket, NoSuchKey):
        return False
    return True


async def ensure_bucket(connection: Connection) -> bool:
    """Make the bucket if there is none; whether it was made."""
    if await bucket_exists(connection):
        return False
    with translated("s3:CreateBucket", connection.settings.bucket):
        await connection.s3.create_bucket(Bucket=connection.settings.bucket)
    return True


async def read_policy(connection: Connection) -> Mapping[str, object] | None:
    """The policy document, None when the bucket has none."""
    try:
        with translated("s3:GetBucketPolicy", connection.settings.bucket):
            answer = await connection.s3.get_bucket_policy(Bucket=connection.settings.bucket)
            document = json.loads(answer["Policy"] or "{}")
    except NoSuchPolicy:
        return None
    return document if isinstance(document, dict) and document else None


async def write_policy(connection: Connection, document: Mapping[str, object] | None) -> None:
    """Set the policy document; None removes it."""
    bucket = connection.settings.bucket
    if document is None:
        with translated("s3:DeleteBucketPolicy", bucket):
            await connection.s3.delete_bucket_policy(Bucket=bucket)
        return
    with translated("s3:PutBucketPolicy", bucket):
        await connection.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))


async def sweep_multipart(connection: Connection, before: datetime) -> int:
    """Abort the uploads below our prefix that began before a time; how many. (MinIO itself sweeps after a day.)"""
    settings, swept = connection.settings, 0
    with translated("s3:ListBucketMultipartUploads", settings.bucket):
        # Without a prefix: MinIO takes one for a whole key.
        pages = connection.s3.get_paginator("list_multipart_uploads").paginate(Bucket=settings.bucket)
        found = [upload async for page in pages for upload in page.get("Uploads", [])]
    for upload in found:
        if upload["Key"].startswith(settings.prefix) and upload["Initiated"] < before:
            swept += await abort(connection.s3, settings.bucket, upload["Key"], upload["UploadId"])
    return swept


async def probe_conditional(store: Conditional, token: str) -> ConditionalWrites:
    """Create an object twice and overwrite it with a wrong etag: only the first may succeed. It is deleted again."""
    key, body = f"{PROBE_FOLDER}{token}", token.encode()
    try:
        if not await _created(store, key, body):
            return ConditionalWrites.BROKEN
        if await _created(store, key, b"second " + body) or await _overwritten(store, key, body):
            return ConditionalWrites.IGNORED
        return ConditionalWrites.SAFE
    finally:
        await store.delete(key)


async def _created(store: Conditional, key: str, body: bytes) -> bool:
    try:
        await store.put(key, body, content_type="text/plain", if_none_match=True)
    except PreconditionFailed:
        # Our own first write, if its acknowledgement was lost and the transport sent it again.
        return await _holds(store, key, body)
    except NoSuchKey:
        return False
    except StoreError as exc:
        if exc.retryable or type(exc) is not StoreError:
            raise
        return False  # such as 501 NotImplemented
    return True


async def _holds(store: Conditional, key: str, body: bytes) -> bool:
    try:
        return (await store.get(key))[0] == body
    except NoSuchKey:
        return False


async def _overwritten(store: Conditional, key: str, body: bytes) -> bool:
    try:
        await store.put_if_match(key, b"stale " + body, STALE_ETAG)
    except PreconditionFailed:
        return False
    return True
