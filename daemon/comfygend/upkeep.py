"""Upkeep: the write-ahead logs of the two databases are kept small, and the disk that they lie on is watched."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from comfygen.errors import HistoryError
from comfygend.board import Board

LOOK_SECONDS = 30.0
MIB = 2**20
SCARCE_BYTES = 256 * MIB
SCARCE_SHARE = 0.05


def is_scarce(total: int, free: int) -> bool:
    """Whether so little of a disk is free that somebody should know."""
    return free < min(SCARCE_BYTES, total * SCARCE_SHARE)


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """`logs` are the write-ahead logs and who writes each of them home, as far as its readers let it."""

    folder: Path
    logs: Mapping[Path, Callable[[], Awaitable[None]]]
    board: Board
    small: int = 4 * MIB
    large: int = 64 * MIB
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage

    async def run(self) -> None:
        """Look every now and then, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look at logs and disk once."""
        for path, checkpoint in self.logs.items():
            if _size(path) > self.small:
                try:
                    await checkpoint()
                except HistoryError as exc:
                    if not exc.retryable:
                        raise
            self._judge(path)
        await self._look_at_disk()

    def _judge(self, path: Path) -> None:
        if _size(path) <= self.large:
            self.board.well(path.name)
            return
        hint = "A program has been reading the database for long: end it (an open sqlite3 shell, a large export)."
        self.board.trouble(path.name, f"It has more than {self.large // MIB} MiB and cannot shrink.", hint)

    async def _look_at_disk(self) -> None:
        try:
            total, _, free = await asyncio.to_thread(self.usage, self.folder)
        except OSError as exc:
            self.board.trouble("disk", f"{self.folder} cannot be looked at: {exc.strerror}.", "Is it still mounted?")
            return
        if is_scarce(total, free):
            hint = "Free some space: a full disk stops everything until there is some again (nothing is lost)."
            self.board.trouble("disk", f"Its file system has hardly any space left for {self.folder}.", hint)
        else:
            self.board.well("disk")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
