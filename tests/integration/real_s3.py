"""A real S3 server, where there is one: COMFYGEN_TEST_S3=http://ACCESS:SECRET@HOST:PORT runs the store's contract."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from comfygen.minio_client import ListenSettings, MinioStore, StoreSettings
from comfygen.store import Store

VARIABLE = "COMFYGEN_TEST_S3"


def settings() -> StoreSettings | None:
    """A fresh bucket on the server that the environment names, or None."""
    address = urlsplit(os.environ.get(VARIABLE, ""))
    if not address.hostname:
        return None
    return StoreSettings(
        endpoint=f"{address.scheme}://{address.hostname}:{address.port}",
        bucket=f"comfygen-test-{secrets.token_hex(6)}",
        prefix="art/",
        access_key=address.username,
        secret_key=address.password,
        policy="presigned",
        page=25,
        listening=ListenSettings(ping=1),
    )


class RealStand:
    """A bucket for the contract of stores; the foreign program is another client of ours."""

    page = 60

    def __init__(self, store: MinioStore, foreign: MinioStore) -> None:
        self.store: Store = store
        self._foreign = foreign

    async def write(self, key: str, body: bytes) -> None:
        await self._foreign.put(key, body, content_type="application/octet-stream")

    async def remove(self, key: str) -> None:
        await self._foreign.delete(key)

    async def fetch(self, url: str) -> bytes:
        async with aiohttp.ClientSession() as person, person.get(URL(url, encoded=True)) as answer:
            return await answer.read()

    async def vanish(self) -> None:
        await remove_bucket(self._foreign)


async def remove_bucket(store: MinioStore) -> None:
    """Empty the bucket and delete it."""
    client, bucket = store._s3, store.settings.bucket
    async for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            await client.delete_object(Bucket=bucket, Key=item["Key"])
    await client.delete_bucket(Bucket=bucket)


@asynccontextmanager
async def real_stand(place: Path) -> AsyncIterator[RealStand]:
    """A store on a fresh bucket of the real server; the bucket is removed in the end."""
    chosen = settings()
    assert chosen is not None
    async with MinioStore.open(chosen) as store, MinioStore.open(replace(chosen)) as foreign:
        await store.ensure_bucket()
        try:
            yield RealStand(store, foreign)
        finally:
            if await foreign.bucket_exists():
                await remove_bucket(foreign)
