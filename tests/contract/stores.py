"""The stores that the contract is run on, and what a foreign program may do to each behind its back.

A further store joins by adding its stand to STANDS; every case then runs on it, too.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Protocol
from urllib.parse import unquote, urlsplit

from comfygen.folder_store import FolderStore
from comfygen.store import Change, Hint, Store
from tests.integration.minio_stage import bucket_stand
from tests.integration.real_s3 import VARIABLE, real_stand

GUARD_SECONDS = 60.0


class Stand(Protocol):
    """A store on the bench, opened, with other hands beside it. `page` is more than one page of its listing."""

    store: Store
    page: int

    async def write(self, key: str, body: bytes) -> None:
        """Write an object as a program would that is not ours."""
        ...

    async def remove(self, key: str) -> None:
        """Remove an object as a program would that is not ours."""
        ...

    async def fetch(self, url: str) -> bytes:
        """What a person gets who opens a URL."""
        ...

    async def vanish(self) -> None:
        """Take the whole bucket or folder away."""
        ...


class FolderStand:
    """A folder store; the foreign program copies files."""

    page = 1100

    def __init__(self, store: FolderStore) -> None:
        self.store: Store = store
        self.folder = store.folder

    async def write(self, key: str, body: bytes) -> None:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    async def remove(self, key: str) -> None:
        (self.folder / key).unlink()

    async def fetch(self, url: str) -> bytes:
        return Path(unquote(urlsplit(url).path)).read_bytes()

    async def vanish(self) -> None:
        shutil.rmtree(self.folder)


@asynccontextmanager
async def folder_stand(place: Path) -> AsyncIterator[Stand]:
    """A store in a fresh folder below `place`."""
    async with FolderStore(place / "out puts ü%20") as store:
        yield FolderStand(store)


STANDS: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Stand]]] = MappingProxyType(
    {"folder": folder_stand, "bucket": bucket_stand} | ({"real": real_stand} if os.environ.get(VARIABLE) else {})
)


async def keys_of(store: Store, prefix: str = "", *, start_after: str = "") -> list[str]:
    """The keys of a whole listing."""
    return [each.key async for each in store.list(prefix, start_after=start_after)]


async def hint_about(hints: AsyncIterator[Hint], key: str, change: Change) -> Hint:
    """The first hint that says this; others before it are passed over."""
    async with asyncio.timeout(GUARD_SECONDS):
        async for hint in hints:
            if (hint.key, hint.change) == (key, change):
                return hint
    raise AssertionError("the hints ended")
