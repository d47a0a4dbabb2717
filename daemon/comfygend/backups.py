"""Backups: a copy of queue.db for every day (UTC), of which the newest are kept."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from comfygen.backup import PART, BackupFailed, back_up
from comfygend.board import Board

log = logging.getLogger(__name__)
KEPT = 7
LOOK_SECONDS = 600.0
NAME = re.compile(r"queue-\d{8}\.db")


@dataclass(frozen=True, kw_only=True)
class Backups:
    """Makes today's copy as soon as it is missing: at the start, and after midnight."""

    source: Path
    folder: Path
    board: Board
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    kept: int = KEPT

    async def run(self) -> None:
        """Keep today's copy there, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Make today's copy if there is none. One that cannot be made is a trouble, and is tried again later."""
        try:
            await asyncio.to_thread(self._make, self.folder / f"queue-{self.now():%Y%m%d}.db")
        except BackupFailed as exc:
            self.board.trouble("backup", exc.message, exc.hint)
        except OSError as exc:
            self.board.trouble("backup", f"{self.folder} cannot be tidied: {exc.strerror}.", "Mend its rights.")
        else:
            self.board.well("backup")

    def _make(self, target: Path) -> None:
        if not target.exists():
            log.info("backup %s: %d bytes", target, back_up(self.source, target))
        self._tidy()

    def _tidy(self) -> None:
        """Only what the service has made itself goes: copies of days beyond the newest, and broken-off ones."""
        days = sorted(path for path in self.folder.iterdir() if NAME.fullmatch(path.name))
        broken = [path for path in self.folder.iterdir() if path.name.startswith(".queue-2") and path.suffix == PART]
        for path in (*days[: -self.kept], *broken):
            path.unlink(missing_ok=True)
