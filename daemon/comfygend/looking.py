"""Looking at keys: what the store really has under a key becomes what the index says about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from comfygen.errors import KeyInvalid, NoSuchKey, StoreError
from comfygen.generation import MAX_SIDECAR_BYTES, Generation, SidecarUnreadable, read_sidecar
from comfygen.generation.pictures import BARE, MAX_PICTURE_BYTES, PICTURE_SUFFIXES, read_picture
from comfygen.index import Index
from comfygen.sidecar import bare_url, output_key, sidecar_key
from comfygen.store import Store
from comfygend.failpoints import Point, failpoint
from comfygend.threads import OnThread

AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Gone:
    """There is no sidecar any more: the row of output `key` goes."""

    key: str


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """The sidecar `key` cannot be read, for this reason."""

    key: str
    reason: str
    etag: str


Finding: TypeAlias = Generation | Gone | Unreadable


@dataclass(frozen=True, kw_only=True)
class Lookout:
    """Looks at keys in the store, and writes what it finds into the index. `source` names the store in the rows."""

    store: Store
    index: OnThread[Index]
    source: str

    async def look(self, keys: Iterable[str]) -> dict[str, StoreError]:
        """Look at keys, some at once, and write what was found in one go. Gives those that the store kept to itself."""
        gate, failed = asyncio.Semaphore(AT_ONCE), dict[str, StoreError]()

        async def one(key: str) -> Finding | None:
            async with gate:
                try:
                    return await self.finding(key)
                except StoreError as exc:
                    failed[key] = exc
                    return None

        await self.write([found for found in await asyncio.gather(*map(one, keys)) if found is not None])
        return failed

    async def finding(self, key: str, *, output_listed: bool = False) -> Finding | None:
        """What the store has under a key: an output's own, or its sidecar's. `output_listed`: the output is there."""
        try:
            if output_key(key) is None:
                return await self._output(key)
            return await self._sidecar(key, output_listed=output_listed)
        except KeyInvalid:
            return None  # no store of ours has such an object: a hint from elsewhere

    async def picture(self, key: str) -> Finding | None:
        """What a picture without a sidecar tells by itself; its sidecar's own word, if there is one by now."""
        sidecar = sidecar_key(key)
        return await self._sidecar(sidecar, output_listed=True) if await self._has(sidecar) else await self._bare(key)

    async def _bare(self, key: str) -> Finding:
        """An output without a sidecar: a picture tells something by itself, nothing else does."""
        if not key.lower().endswith(PICTURE_SUFFIXES):
            return Gone(key=key)
        sidecar = sidecar_key(key)
        try:
            content, stored = await self.store.get(key, max_bytes=MAX_PICTURE_BYTES)
        except NoSuchKey:
            return Gone(key=key)
        except StoreError as exc:
            return replace(await self._giant(key, exc, MAX_PICTURE_BYTES, etag=BARE), key=sidecar)
        read = partial(read_picture, etag=stored.etag, source=self.source, modified=stored.modified)
        try:
            found = await asyncio.to_thread(read, key, content)
        except SidecarUnreadable as exc:
            return Unreadable(key=sidecar, reason=exc.message, etag=BARE + stored.etag)
        return replace(found, minio_url=bare_url(self.store.url(key)))

    async def _output(self, key: str) -> Finding | None:
        """An output came or went: where there is a row that says otherwise, it is made anew."""
        row = await self.index(lambda index: index.get(key))
        if row is None or row.image_missing is not await self._has(key):
            return None
        return await self._sidecar(sidecar_key(key), output_listed=False)

    async def _sidecar(self, key: str, *, output_listed: bool) -> Finding:
        if output_listed:
            return await self._read(key)
        found, there = await asyncio.gather(self._read(key), self._has(str(output_key(key))))
        if there or not isinstance(found, Generation):
            return found
        # Without the etag, every reconcile looks again, whether the output has come back.
        return replace(found, image_missing=True, sidecar_etag="")

    async def _read(self, key: str) -> Finding:
        try:
            body, stored = await self.store.get(key, max_bytes=MAX_SIDECAR_BYTES)
        except NoSuchKey:
            return await self._bare(str(output_key(key)))
        except StoreError as exc:
            return await self._giant(key, exc, MAX_SIDECAR_BYTES)
        try:
            return read_sidecar(key, body, etag=stored.etag, source=self.source)
        except SidecarUnreadable as exc:
            return Unreadable(key=key, reason=exc.message, etag=stored.etag)

    async def _giant(self, key: str, exc: StoreError, limit: int, *, etag: str = "") -> Unreadable:
        """An object too large to be read is a problem of its own; any other error is the store's."""
        if exc.retryable:
            raise exc
        stored = await self.store.head(key)
        if stored.size <= limit:
            raise exc
        return Unreadable(
            key=key, reason=f"It has {stored.size:,} bytes; at most {limit:,} are read.", etag=etag + stored.etag
        )

    async def _has(self, key: str) -> bool:
        try:
            await self.store.head(key)
        except NoSuchKey:
            return False
        return True

    async def is_gone(self, key: str) -> bool:
        """Whether the store itself says that there is no such object: a listing may hide one."""
        return not await self._has(key)

    async def write(self, findings: list[Finding]) -> None:
        """Write findings into the index."""
        generations = [found for found in findings if isinstance(found, Generation)]
        gone = [found.key for found in findings if isinstance(found, Gone)]
        if generations:
            await self.index(lambda index: index.upsert_many(generations))
        if gone:
            await self.index(lambda index: index.delete(gone))
        for found in findings:
            if isinstance(found, Unreadable):
                await self._record(found)
        if findings:
            failpoint(Point.INDEXED)

    async def _record(self, found: Unreadable) -> None:
        await self.index(lambda index: index.record_problem(found.key, found.reason, found.etag))


__all__ = ["Finding", "Gone", "Lookout", "Unreadable"]
