"""Inboxes from the outside: how a program drops a request, and where it finds what came of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from comfygen.config import Config
from comfygen.errors import InboxError, NoSuchKey, PreconditionFailed

if TYPE_CHECKING:
    from comfygen.minio_client import MinioStore

REPORTS = ("done/{}.result.json", "failed/{}.error.json")
MAX_REPORT_BYTES = 64 * 2**20


class Place(Protocol):
    """An inbox that requests are dropped into."""

    @property
    def name(self) -> str:
        """Where it is, for people."""
        ...

    async def drop(self, name: str, content: bytes) -> bool:
        """Drop a request whole; False if the name is taken, here or among those that have ended."""
        ...

    async def report(self, name: str) -> bytes | None:
        """The report of the request dropped under this name, once it has ended."""
        ...


@dataclass(frozen=True, kw_only=True)
class FolderPlace:
    """An inbox folder."""

    folder: Path

    @property
    def name(self) -> str:
        return str(self.folder)

    async def drop(self, name: str, content: bytes) -> bool:
        return await asyncio.to_thread(self._drop, name, content)

    def _drop(self, name: str, content: bytes) -> bool:
        taken = [self.folder / name, *(self.folder / report.format(name) for report in REPORTS)]
        if any(os.path.lexists(path) for path in taken):
            return False
        part = self.folder / f".{name}.{os.getpid()}.part"
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self.folder / name)
            self._sync()
        except OSError as exc:
            hint = "Does the folder exist, and may you write there? The service creates it at its first start."
            raise InboxError(f"{self.folder}/{name} cannot be written: {exc.strerror}.", hint=hint) from exc
        return True

    def _sync(self) -> None:
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    async def report(self, name: str) -> bytes | None:
        found = (self.folder / report.format(name) for report in REPORTS)
        return next((path.read_bytes() for path in found if path.exists()), None)


@dataclass(frozen=True, kw_only=True)
class BucketPlace:
    """A prefix of a bucket."""

    store: MinioStore
    prefix: str

    @property
    def name(self) -> str:
        return f"{self.store.settings.bucket}/{self.prefix}"

    async def drop(self, name: str, content: bytes) -> bool:
        if await self.report(name) is not None:
            return False
        kind = "application/json" if name.endswith(".json") else "application/yaml"
        try:
            await self.store.put(self.prefix + name, content, content_type=kind, if_none_match=True)
        except PreconditionFailed:
            # Ours, perhaps, whose acknowledgement was lost and which was sent again.
            return (await self.store.get(self.prefix + name))[0] == content
        return True

    async def report(self, name: str) -> bytes | None:
        for report in REPORTS:
            try:
                return (await self.store.get(self.prefix + report.format(name), max_bytes=MAX_REPORT_BYTES))[0]
            except NoSuchKey:
                continue
        return None


@asynccontextmanager
async def open_place(config: Config) -> AsyncIterator[Place]:
    """The first inbox of the configuration."""
    inbox = config.inbox[0]
    if inbox.folder is not None:
        yield FolderPlace(folder=inbox.folder)
        return
    from comfygen.minio_client import MinioStore, StoreSettings  # slow to import, and only needed here

    async with MinioStore.open(replace(StoreSettings.of(config.store), prefix="")) as store:
        yield BucketPlace(store=store, prefix=str(inbox.prefix))
