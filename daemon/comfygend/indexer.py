"""Indexer: keeps index.db equal to the store. Events say where to look; listings have the last word."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from comfygen.config import Config
from comfygen.errors import ComfyGenError, NoSuchBucket, StoreError
from comfygen.index import IndexBusy
from comfygen.store import Change, Store
from comfygend.bell import Bell
from comfygend.board import Board
from comfygend.ears import Ear
from comfygend.looking import Lookout
from comfygend.reconcile import Tally, Walk
from comfygend.retry import backoff

log = logging.getLogger(__name__)
MOST_KEYS = 10_000
BATCH = 64
LONGEST_WAIT = 30.0
UNTOLD = {"candidates", "doubt"}


@dataclass
class Verification:
    """The keys to look at, each once; when there are too many, everything is looked at instead."""

    keys: dict[str, None] = field(default_factory=dict)
    bell: Bell = field(default_factory=Bell)
    everything: bool = True
    everything_bell: Bell = field(default_factory=Bell)

    def add(self, key: str) -> None:
        """Look at this key soon. Never blocks, never grows beyond its bound."""
        if len(self.keys) >= MOST_KEYS and key not in self.keys:
            self.keys.clear()
            self.add_everything()
        else:
            self.keys[key] = None
            self.bell.ring()

    def add_everything(self) -> None:
        """Reconcile soon."""
        self.everything = True
        self.everything_bell.ring()

    def take(self) -> list[str]:
        """The next keys to look at."""
        batch = list(self.keys)[:BATCH]
        for key in batch:
            del self.keys[key]
        return batch


class Indexer:
    """Three loops: listen for hints, look at keys, reconcile. They share the verification queue and nothing else."""

    def __init__(
        self,
        lookout: Lookout,
        *,
        board: Board,
        reconcile_seconds: float,
        excluded: tuple[str, ...] = (),
        ear: Ear | None = None,
    ) -> None:
        self.lookout, self.board = lookout, board
        self.reconcile_seconds, self.excluded, self.ear = reconcile_seconds, excluded, ear
        self.pending = Verification()
        self.busy = 0
        self.last: Tally | None = None
        self.found_by_reconcile = 0
        self._seen_while_walking: dict[str, None] | None = None
        self._doubt = 0

    @property
    def store(self) -> Store:
        return self.lookout.store

    @property
    def is_idle(self) -> bool:
        """Whether every hint so far was followed, and a reconcile has been done since the start."""
        return not (self.busy or self.pending.keys or self.pending.everything) and self.last is not None

    def see(self, key: str) -> None:
        """Look at this key soon, unless it lies where no outputs are.

        During a reconcile also once more at its end: what it read before may be written after what is seen now.
        """
        if key.startswith(self.excluded):
            return
        self.pending.add(key)
        if self._seen_while_walking is not None:
            self._seen_while_walking[key] = None
            if len(self._seen_while_walking) > MOST_KEYS:
                self._seen_while_walking.clear()
                self.pending.add_everything()

    # -- listen ---------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Follow the store's hints until cancelled. Every new subscription is followed by a reconcile."""
        failures = 0
        while True:
            try:
                async with self.ear.listen() if self.ear else self.store.listen() as hints:
                    self.board.well("notifications")
                    self.pending.add_everything()
                    async for hint in hints:
                        failures = 0
                        if hint.change is Change.RECONCILE:
                            self.pending.add_everything()
                        else:
                            self.see(hint.key)
            except StoreError as exc:
                self.board.trouble("notifications", exc.message, exc.hint)
            failures += 1
            await asyncio.sleep(backoff(failures, random.random(), longest=LONGEST_WAIT))

    # -- look -----------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Look at keys as they come, until cancelled."""
        failures = 0
        while True:
            seen = self.pending.bell.rings
            batch = self.pending.take()
            if not batch:
                await self.pending.bell.after(seen, 60)
                continue
            self.busy += 1
            try:
                failures = 0 if await self._looked_at(batch) else failures + 1
                if failures:
                    await asyncio.sleep(backoff(failures, random.random(), longest=LONGEST_WAIT))
            finally:
                self.busy -= 1

    async def _looked_at(self, batch: list[str]) -> bool:
        """Whether all went well; keys that could not be looked at are looked at again."""
        try:
            failed: Mapping[str, ComfyGenError] = await self.lookout.look(batch)
        except IndexBusy as exc:
            failed = dict.fromkeys(batch, exc)
        if not failed:
            self.board.well("index")
            return True
        self._alarm(next(iter(failed.values())))
        for key in failed:
            self.pending.add(key)
        return False

    def _alarm(self, exc: ComfyGenError) -> None:
        hint = exc.hint or "The index keeps what it has."
        if isinstance(exc, NoSuchBucket):
            hint = "Nothing is removed from the index. Create the bucket again, or restore it."
        self.board.trouble("index", exc.message, hint)

    # -- reconcile ------------------------------------------------------------------------------------------------

    async def reconcile(self) -> None:
        """Reconcile at the start, when asked for, and every few minutes, until cancelled."""
        failures = 0
        while True:
            seen = self.pending.everything_bell.rings
            self.pending.everything = False
            self.busy += 1
            try:
                await self.once()
                failures = 0
            except* (StoreError, IndexBusy) as group:
                failures += 1
                self.pending.everything = True
                self._alarm(_first(group))
            finally:
                self.busy -= 1
            if failures:
                await asyncio.sleep(backoff(failures, random.random(), longest=LONGEST_WAIT))
            else:
                await self.pending.everything_bell.after(seen, self.reconcile_seconds)

    async def once(self) -> Tally:
        """One reconcile. Raises StoreError (perhaps in a group); the index keeps what it has then."""
        self._seen_while_walking = {}
        try:
            tally = await Walk(self.lookout, excluded=self.excluded, doubt=self._doubt).run()
        finally:
            again, self._seen_while_walking = self._seen_while_walking, None
            for key in again:
                self.pending.add(key)
        if tally.held_back:
            message = f"{tally.missing} of {tally.known} generations are missing from the store's listing."
            hint = "They stay in the index for now, and go if the next listing says the same."
            self.board.trouble("reconcile", message, hint)
        else:
            self.board.well("reconcile")
        self._doubt = tally.doubt
        if tally.is_truncated and not tally.held_back:
            self.pending.add_everything()
        if self.last is not None:
            self.found_by_reconcile += tally.changes
            if self.ear is not None:
                self.ear.note_reconcile(tally.changes)
        self.last = tally
        self.board.well("index")
        if tally.changes:
            log.info("reconcile: %d sidecars read, %d rows removed", tally.read, tally.removed)
        return tally

    def told(self) -> dict[str, object]:
        """What /status says about it."""
        last = self.last
        return {
            "source": self.lookout.source,
            "waiting": len(self.pending.keys),
            **({"notifications": self.ear.told()} if self.ear is not None else {}),
            "reconcile_found": self.found_by_reconcile,
            "last_reconcile": {name: value for name, value in vars(last).items() if name not in UNTOLD}
            if last
            else None,
        }


def _first(group: BaseExceptionGroup[ComfyGenError]) -> ComfyGenError:
    """The first error of a group that may be nested."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def without_outputs(config: Config) -> tuple[str, ...]:
    """Prefixes of keys, below the store's own prefix, that hold no outputs: inboxes, and the store's own objects."""
    prefix, root = config.store.prefix, config.store.folder
    asked = [inbox.prefix for inbox in config.inbox if inbox.prefix is not None and inbox.prefix.startswith(prefix)]
    folders = [inbox.folder for inbox in config.inbox if inbox.folder is not None]
    inner = [folder.relative_to(root) for folder in folders if root is not None and folder.is_relative_to(root)]
    return (".comfygen/", *(key.removeprefix(prefix) for key in asked), *(f"{path.as_posix()}/" for path in inner))
