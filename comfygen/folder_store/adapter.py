"""FolderStore: the Store port on a local folder. The blocking work happens on a few threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

from comfygen.errors import StoreError
from comfygen.folder_store import files
from comfygen.folder_store.keys import folder_key
from comfygen.folder_store.listing import Listing
from comfygen.folder_store.root import Root
from comfygen.folder_store.watching import Watching
from comfygen.store import Hint, Stored

THREADS = 4
BATCH = 500
T = TypeVar("T")


class FolderStore:
    """Objects as files below `folder`, which is made if need be. `async with` opens it.

    `public_url` is where a web server serves the folder; without it, URLs are `file://`. A folder keeps neither content
    types nor metadata: the type follows from the key's suffix, `metadata` is not stored. Parts of keys that begin with
    a dot are refused: the store keeps its own files in `.comfygen/`.
    """

    def __init__(self, folder: Path, *, public_url: str | None = None) -> None:
        self._root = Root(folder.expanduser().resolve())
        self._base = public_url.rstrip("/") if public_url else "file://" + quote(str(self._root.path))
        self._threads: ThreadPoolExecutor | None = None

    @property
    def folder(self) -> Path:
        """Where the objects lie."""
        return self._root.path

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as undo:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="folder-store")
            undo.push_async_callback(self._close)
            await self._run(self._root.start)
            undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)  # a write that was given up ends before the store does

    async def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        return await self._run(partial(files.put, self._root, key, body, only_new=if_none_match))

    async def get(self, key: str, *, max_bytes: int | None = None) -> tuple[bytes, Stored]:
        return await self._run(partial(files.get, self._root, key, max_bytes=max_bytes))

    async def head(self, key: str) -> Stored:
        return await self._run(partial(files.head, self._root, key))

    async def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Stored]:
        objects = Listing(self._root, prefix, start_after).objects()
        while batch := await self._run(lambda: tuple(islice(objects, BATCH))):
            for each in batch:
                yield each

    def listen(self, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Hint]]:
        return Watching(self._root, prefix, run=self._run)

    async def delete(self, key: str) -> None:
        await self._run(partial(files.delete, self._root, key))

    def url(self, key: str) -> str:
        return f"{self._base}/{'/'.join(quote(part, safe='') for part in folder_key(key).split('/'))}"

    async def _run(self, work: Callable[[], T]) -> T:
        if self._threads is None:
            raise StoreError(f"The store {self.folder} is not open.")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
