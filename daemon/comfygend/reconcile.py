"""Reconcile: one walk along the store's listing and the index's own, side by side, in flat memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from comfygen.errors import StoreError
from comfygen.generation.pictures import BARE, PICTURE_SUFFIXES
from comfygen.index import Known, Source
from comfygen.sidecar import output_key, sidecar_key
from comfygend.looking import Finding, Gone, Lookout

log = logging.getLogger(__name__)
PAGE = 1000
BATCH = 200
FETCHERS = 16
MOST_FAILURES = 100
MOST_REMOVALS = 10_000
VALVE_ROWS, VALVE_SHARE = 20, 0.2


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A sidecar of the store's listing and whether its output was listed too; `bare`: a picture that has none."""

    key: str
    etag: str
    present: bool = True
    bare: bool = False


@dataclass
class Tally:
    """What a walk has seen."""

    objects: int = 0
    sidecars: int = 0
    read: int = 0
    missing: int = 0
    removed: int = 0
    hidden: int = 0
    known: int = 0
    held_back: bool = False
    candidates: list[str] = field(default_factory=list)
    doubt: int = 0  # stands for all keys that are missing and still have rows: equal when they are the same keys

    @property
    def changes(self) -> int:
        """How much differed: more than nothing means that events were missed."""
        return self.read + self.removed

    @property
    def is_truncated(self) -> bool:
        """Whether more is missing than one walk removes."""
        return self.missing > len(self.candidates)


def is_suspicious(missing: int, known: int) -> bool:
    """Whether so much is missing from a listing that it is rather the listing that is wrong."""
    return missing > VALVE_ROWS and missing > known * VALVE_SHARE


class Walk:
    """One reconcile. `excluded` are prefixes that hold no outputs (requests, our own objects).

    `doubt` is that of an earlier tally: where the same is missing again, it is believed.
    """

    def __init__(self, lookout: Lookout, *, excluded: tuple[str, ...] = (), doubt: int = 0) -> None:
        self.lookout, self.excluded, self.doubt = lookout, excluded, doubt
        self.tally = Tally()
        self._failures: list[StoreError] = []
        self._queue: asyncio.Queue[Listed] = asyncio.Queue(maxsize=4 * FETCHERS)
        self._findings: list[Finding] = []
        self._flushing = 0

    async def run(self) -> Tally:
        """Make the index equal to the store.

        Raises StoreError when the listing is not complete, or an object could not be read: nothing is removed then.
        """
        async with asyncio.TaskGroup() as group:
            fetchers = [group.create_task(self._fetch(), name=f"reconcile {n}") for n in range(FETCHERS)]
            await self._merge()
            await self._queue.join()
            for fetcher in fetchers:
                fetcher.cancel()
        await self._flush()
        if self._failures:
            raise self._failures[0]
        await self._remove()
        await self._record()
        return self.tally

    async def _merge(self) -> None:
        """Walk both listings, which are in the same order, and look at every sidecar that differs."""
        known = self._known()
        current = await anext(known, None)
        async for listed in self._sidecars():
            while current is not None and current.sidecar_key.encode() < listed.key.encode():
                self._note_missing(current)
                current = await anext(known, None)
            same = current is not None and current.sidecar_key == listed.key
            if current is None or not same or current.sidecar_etag != listed.etag or not listed.present:
                await self._queue.put(listed)
            if same:
                current = await anext(known, None)
        while current is not None:
            self._note_missing(current)
            current = await anext(known, None)

    async def _sidecars(self) -> AsyncIterator[Listed]:
        """Every sidecar of the listing in byte order; and where one is missing beside a picture, the gap it leaves.

        An output comes before its sidecar, and what lies between them begins with the output's key: so it is enough to
        remember the keys that the current one begins with.
        """
        openings: list[str] = []
        gaps: list[Listed] = []
        async for stored in self.lookout.store.list():
            if stored.key.startswith(self.excluded):
                continue
            self.tally.objects += 1
            gaps = [gap for gap in gaps if gap.key != stored.key]
            while gaps and gaps[0].key.encode() < stored.key.encode():
                yield gaps.pop(0)
            while openings and not stored.key.startswith(openings[-1]):
                openings.pop()
            if (output := output_key(stored.key)) is not None:
                self.tally.sidecars += 1
                yield Listed(key=stored.key, etag=stored.etag, present=output in openings)
            elif stored.key.lower().endswith(PICTURE_SUFFIXES):
                gaps.append(Listed(key=sidecar_key(stored.key), etag=BARE + stored.etag, bare=True))
                gaps.sort(key=lambda gap: gap.key.encode())
            openings.append(stored.key)
        for gap in gaps:
            yield gap

    async def _known(self) -> AsyncIterator[Known]:
        after = ""
        while page := await self._page(after):
            for known in page:
                self.tally.known += 1
                yield known
            after = page[-1].sidecar_key

    async def _page(self, after: str) -> list[Known]:
        return await self.lookout.index(lambda index: index.etags(after, PAGE))

    def _note_missing(self, known: Known) -> None:
        witness = known.key if known.sidecar_etag.startswith(BARE) else known.sidecar_key
        self.tally.missing += 1
        self.tally.doubt += hash(witness)
        if len(self.tally.candidates) < MOST_REMOVALS:
            self.tally.candidates.append(witness)

    async def _fetch(self) -> None:
        while True:
            await self._look(await self._queue.get())
            if len(self._findings) >= BATCH or (self._queue.empty() and not self._flushing):
                await self._flush()
            self._queue.task_done()

    async def _look(self, listed: Listed) -> None:
        """One key that cannot be read keeps no other from being indexed; a hundred mean that the store is away."""
        try:
            if listed.bare:
                found = await self.lookout.picture(str(output_key(listed.key)))
            else:
                found = await self.lookout.finding(listed.key, output_listed=listed.present)
        except StoreError as exc:
            self._failures.append(exc)
            if len(self._failures) >= MOST_FAILURES:
                raise
            return
        if found is not None:
            self._findings.append(found)
            self.tally.read += not isinstance(found, Gone)

    async def _flush(self) -> None:
        """Write soon, for what was read grows old; while one write is on its way, the next batch gathers."""
        findings, self._findings = self._findings, []
        self._flushing += 1
        try:
            await self.lookout.write(findings)
        finally:
            self._flushing -= 1

    async def _remove(self) -> None:
        """Rows go one by one, each after the store itself said that its sidecar is not there."""
        if is_suspicious(self.tally.missing, self.tally.known) and self.tally.doubt != self.doubt:
            self.tally.held_back = True
            return
        for start in range(0, len(self.tally.candidates), BATCH):
            batch = self.tally.candidates[start : start + BATCH]
            gone = [key for key in batch if await self.lookout.is_gone(key)]
            self.tally.removed += len(gone)
            self.tally.hidden += len(batch) - len(gone)
            self.tally.doubt -= sum(map(hash, gone))
            await self.lookout.write([Gone(key=output_key(key) or key) for key in gone])

    async def _record(self) -> None:
        generations = await self.lookout.index(lambda index: index.count())
        source = Source(
            id=self.lookout.source,
            reconciled_at=datetime.now(UTC).isoformat(timespec="seconds"),
            objects=self.tally.objects,
            generations=generations,
            problems=len(await self.lookout.index(lambda index: index.problems(10**9))),
        )
        await self.lookout.index(lambda index: index.record_source(source))
