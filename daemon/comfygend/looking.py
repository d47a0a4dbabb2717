"""Looking at keys: what the store really has under a key becomes what the index says about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from comfygen.errors import NoSuchKey
from comfygen.generation import MAX_SIDECAR_BYTES, Generation, SidecarUnreadable, read_sidecar
from comfygen.index import Index
from comfygen.sidecar import output_key
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

    async def look(self, keys: Iterable[str]) -> None:
        """Look at keys, some at once, and write what was found in one go. Raises StoreError, with nothing written."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(key: str) -> Finding | None:
            async with gate:
                return await self.finding(key)

        await self.write([found for found in await asyncio.gather(*map(one, keys)) if found is not None])

    async def finding(self, key: str, *, output_listed: bool = True) -> Finding | None:
        """What the store has under a key: an output's own, or its sidecar's."""
        if output_key(key) is None:
            return await self._output(key)
        try:
            body, stored = await self.store.get(key, max_bytes=MAX_SIDECAR_BYTES)
        except NoSuchKey:
            return Gone(key=str(output_key(key)))
        try:
            generation = read_sidecar(key, body, etag=stored.etag, source=self.source)
        except SidecarUnreadable as exc:
            return Unreadable(key=key, reason=exc.message, etag=stored.etag)
        return generation if output_listed else await self._checked(generation)

    async def _output(self, key: str) -> Finding | None:
        """An output came or went: its row, if there is one, says whether it is there."""
        row = await self.index(lambda index: index.get(key))
        if row is not None:
            checked = await self._checked(row)
            return checked if checked != row else None
        return None

    async def _checked(self, generation: Generation) -> Generation:
        try:
            await self.store.head(generation.key)
        except NoSuchKey:
            return replace(generation, image_missing=True)
        return replace(generation, image_missing=False)

    async def is_gone(self, sidecar: str) -> bool:
        """Whether the store itself says that there is no such sidecar: a listing may hide an object."""
        try:
            await self.store.head(sidecar)
        except NoSuchKey:
            return True
        return False

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
