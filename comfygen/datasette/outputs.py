"""Outputs: where the bytes of a generation are, for this reader, and how to get at them."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from comfygen.config import StoreConfig
from comfygen.datasette import links
from comfygen.errors import NoSuchKey
from comfygen.store import key_problems

MAX_BYTES: Final = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class Found:
    """A row of history, as far as its output is concerned. `version` changes when the output does."""

    key: str
    version: str


async def find(datasette: Any, key: str) -> Found | None:
    """The row of an output; only what history knows is ever sent."""
    sql = "select key, sha256, sidecar_etag from generations where key = :key"
    row = (await datasette.get_database(links.INDEX).execute(sql, {"key": key})).first()
    if row is None:
        return None
    return Found(key=row["key"], version=row["sha256"] or f"{row['key']} {row['sidecar_etag']}")


def local_file(folder: Path, key: str) -> Path:
    """The file of an output in a folder store. Raises NoSuchKey unless it is a regular file that really lies there."""
    path = folder / key
    if key_problems(key) or any(part.startswith(".") for part in key.split("/")):
        raise NoSuchKey(f"{key!r} cannot be a key.")
    try:
        inside = path.resolve(strict=True).is_relative_to(folder.resolve())
        regular = stat.S_ISREG(os.lstat(path).st_mode)
    except OSError as exc:
        raise NoSuchKey(f"{key} is not in the store.") from exc
    if not (inside and regular):
        raise NoSuchKey(f"{key} is not in the store.")
    return path


async def address(store: StoreConfig, key: str) -> str:
    """Where a browser finds an output in a bucket; signed for a while unless everybody may read it."""
    from comfygen.minio_client import MinioStore, StoreSettings

    settings = StoreSettings.of(store)
    if store.policy == "public":
        return settings.address(key)
    async with MinioStore.open(settings) as opened:
        return opened.presign(key, 3600)


@asynccontextmanager
async def as_file(store: StoreConfig, key: str) -> AsyncIterator[Path]:
    """An output as a file to read: the store's own, or a copy for as long as the context lasts. Raises StoreError."""
    if store.folder is not None:
        yield await asyncio.to_thread(local_file, store.folder, key)
        return
    from comfygen.minio_client import MinioStore, StoreSettings

    async with MinioStore.open(StoreSettings.of(store)) as opened:
        body, _ = await opened.get(key, max_bytes=MAX_BYTES)
    with tempfile.NamedTemporaryFile(prefix="comfygen-") as copy:
        await asyncio.to_thread(copy.write, body)
        copy.flush()
        yield Path(copy.name)
