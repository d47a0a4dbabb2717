"""A double of MinIO with a bucket, and a store opened on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from comfygen.minio_client import ListenSettings, MinioStore, StoreSettings
from comfygen.store import Store
from tests.minio_double import MinioDouble

BUCKET = "comfy-gen"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The server, and our store on it: empty, below the prefix `art/`."""

    double: MinioDouble
    store: MinioStore

    async def plain(self, key: str, body: bytes = b"x") -> str:
        """Put a small object; its etag."""
        return (await self.store.put(key, body, content_type="text/plain")).etag

    async def keys(self, prefix: str = "") -> list[str]:
        return [item.key async for item in self.store.list(prefix)]

    def another(self, **changes: Any) -> Any:
        """A second store on the same bucket, with other settings."""
        return MinioStore.open(replace(self.store.settings, **changes))


def settings_for(double: MinioDouble, **changes: Any) -> StoreSettings:
    """One attempt per request, so that each test decides what the first answer is."""
    plain: dict[str, Any] = {"prefix": "art/", "attempts": 1, "part_bytes": 5 << 20}
    return StoreSettings(
        endpoint=double.endpoint,
        bucket=BUCKET,
        access_key=double.access_key,
        secret_key=double.secret_key,
        **(plain | changes),
    )


@asynccontextmanager
async def set_stage(**changes: Any) -> AsyncIterator[Stage]:
    async with MinioDouble() as double:
        await double.make_bucket(BUCKET)
        async with MinioStore.open(settings_for(double, **changes)) as store:
            yield Stage(double=double, store=store)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that something real brings about."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


def large_file(folder: Path, mebibytes: int = 11) -> Path:
    """A file that needs three parts of 5 MiB."""
    path = folder / "large.mp4"
    path.write_bytes(bytes(range(256)) * 4096 * mebibytes)
    return path


class BucketStand:
    """A bucket for the contract of stores; the foreign program is boto's client, the person a plain browser."""

    page = 60

    def __init__(self, stage: Stage) -> None:
        self.store: Store = stage.store
        self._stage = stage

    def _whole(self, key: str) -> str:
        return self._stage.store.settings.prefix + key

    async def write(self, key: str, body: bytes) -> None:
        await self._stage.store._s3.put_object(Bucket=BUCKET, Key=self._whole(key), Body=body)

    async def remove(self, key: str) -> None:
        await self._stage.store._s3.delete_object(Bucket=BUCKET, Key=self._whole(key))

    async def fetch(self, url: str) -> bytes:
        async with aiohttp.ClientSession() as person, person.get(URL(url, encoded=True)) as answer:
            return await answer.read()

    async def vanish(self) -> None:
        self._stage.double.knobs.reset_bucket(BUCKET, recreate=False)


@asynccontextmanager
async def bucket_stand(place: Path) -> AsyncIterator[BucketStand]:
    """A store on a fresh bucket, for the contract tests: pages of 25 objects, and links that anybody may open."""
    async with set_stage(page=25, policy="presigned", listening=ListenSettings(ping=1)) as stage:
        yield BucketStand(stage)
