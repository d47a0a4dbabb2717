"""Inboxes from the outside: how a program drops a request, and where it finds what came of it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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
        """Drop a request whole; False if the name is taken, here or by one that runs or has ended."""
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
        part = self.folder / f".{secrets.token_hex(6)}.part"
        try:
            with self._alone() as handle:
                if self._is_taken(name):
                    return False
                with part.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                part.rename(self.folder / name)
                os.fsync(handle)
        except OSError as exc:
            with suppress(OSError):
                part.unlink()
            hint = "Does the folder exist, and may you write there? The service creates it at its first start."
            raise InboxError(f"{self.folder}/{name} cannot be written: {exc.strerror}.", hint=hint) from exc
        return True

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """The opened folder, in which nobody else drops a request meanwhile."""
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):  # some network file systems lock no folders
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)

    def _is_taken(self, name: str) -> bool:
        """In the order in which a request goes its way, so that none slips by."""
        if os.path.lexists(self.folder / name):
            return True
        work = self.folder / "work"
        running = {path.name.partition("__")[2] for path in work.iterdir()} if work.is_dir() else set()
        return name in running or any((self.folder / report.format(name)).exists() for report in REPORTS)

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
        kind = "application/json" if name.lower().endswith(".json") else "application/yaml"
        token = secrets.token_hex(8)
        told: dict[str, Any] = {"content_type": kind, "metadata": {"submission": token}}
        try:
            await self.store.put(self.prefix + name, content, if_none_match=True, **told)
        except PreconditionFailed:
            # Ours, perhaps, whose acknowledgement was lost and which was sent again.
            found = await self.store.head(self.prefix + name)
            return found.metadata.get("submission") == token
        except NoSuchKey:  # RELEASE.2025-09-06 answers so to every condition
            return await self._drop_plainly(name, content, told)
        return True

    async def _drop_plainly(self, name: str, content: bytes, told: Mapping[str, Any]) -> bool:
        try:
            await self.store.head(self.prefix + name)
        except NoSuchKey:
            await self.store.put(self.prefix + name, content, **told)
            return True
        return False

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
