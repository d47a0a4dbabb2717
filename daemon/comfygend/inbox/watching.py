"""Hints that a folder has changed. Events only: whoever is woken lists the folder for the truth."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from watchfiles import awatch

log = logging.getLogger(__name__)
RETRY_SECONDS = 2.0


class FolderWatch:
    """Sets `changed` whenever something happens in a folder, and survives whatever ends a watcher.

    A watcher dies of names that are no UTF-8 and of inotify limits, and goes silently deaf when its folder is replaced.
    Each of these ends in a new watcher and a hint; the caller's periodic listing covers the time in between.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changed = asyncio.Event()
        self.mode = "starting"

    @property
    def works(self) -> bool:
        """Whether events can be relied on for now."""
        return self.mode == "watching"

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._watch()
            except* (OSError, RuntimeError) as group:
                # watchfiles raises its internal error, a RuntimeError, in a group.
                self._polls(str(_first(group)))
            self.changed.set()
            await asyncio.sleep(RETRY_SECONDS)

    def _polls(self, reason: str) -> None:
        if self.mode != (mode := f"polling: {reason}"):
            log.warning("%s is listed from time to time, not watched: %s", self.folder, reason)
        self.mode = mode

    async def _watch(self) -> None:
        replaced = asyncio.Event()
        identity = self._identity()
        guard = asyncio.create_task(self._guard(identity, replaced), name="inbox folder guard")
        watcher = awatch(
            self.folder,
            watch_filter=None,
            step=5,
            debounce=50,
            rust_timeout=0,
            stop_event=replaced,
            recursive=False,
        )
        # The watch is installed synchronously in the first step of the iteration: this runs right after, if at all.
        told = asyncio.get_running_loop().call_soon(self._installed)
        try:
            async for _ in watcher:
                self.changed.set()
        finally:
            told.cancel()
            guard.cancel()

    def _identity(self) -> tuple[int, int]:
        status = self.folder.stat()
        return status.st_dev, status.st_ino

    def _installed(self) -> None:
        """Look once more: what came between the last listing and now has caused no event."""
        self.mode = "watching"
        self.changed.set()

    async def _guard(self, identity: tuple[int, int], replaced: asyncio.Event) -> None:
        """Notice that the folder's name now means another folder: its watcher would be deaf for ever."""
        try:
            while self._is(identity):
                await asyncio.sleep(RETRY_SECONDS)
            log.warning("%s was replaced or is gone: it is watched anew", self.folder)
        finally:
            replaced.set()

    def _is(self, identity: tuple[int, int]) -> bool:
        try:
            return self._identity() == identity
        except OSError:
            return False


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group that may be nested."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
