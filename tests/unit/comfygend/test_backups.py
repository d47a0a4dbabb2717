"""The nightly backups of the service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comfygend.backups import Backups
from comfygend.board import Board
from comfygend.ledger import Ledger


@pytest.fixture
def backups(tmp_path: Path) -> tuple[Backups, list[datetime]]:
    """Backups of an empty ledger, and the clock they go by."""
    Ledger.open(tmp_path / "queue.db").close()
    clock = [datetime(2026, 1, 4, 23, 59, tzinfo=UTC)]
    made = Backups(source=tmp_path / "queue.db", folder=tmp_path / "backups", board=Board(), now=lambda: clock[0])
    return made, clock


def names(backups: Backups) -> list[str]:
    return sorted(path.name for path in backups.folder.iterdir())


async def test_every_day_has_one_copy(backups: tuple[Backups, list[datetime]]) -> None:
    """One at once, no second one on the same day, and another after midnight (UTC)."""
    made, clock = backups
    for _ in range(2):
        await made.look()
    assert names(made) == ["queue-20260104.db"]
    clock[0] += timedelta(minutes=2)
    await made.look()
    assert names(made) == ["queue-20260104.db", "queue-20260105.db"]


async def test_the_newest_seven_stay(backups: tuple[Backups, list[datetime]]) -> None:
    """Older ones and broken-off ones go; what a person put there stays."""
    made, clock = backups
    made.folder.mkdir()
    for name in ("queue-manual-20200101_000000.db", ".queue-20260101.db.part", "notes.txt"):
        (made.folder / name).write_bytes(b"")
    for _ in range(9):
        await made.look()
        clock[0] += timedelta(days=1)
    days = [f"queue-202601{day:02}.db" for day in range(6, 13)]
    assert names(made) == ["notes.txt", *days, "queue-manual-20200101_000000.db"]


async def test_a_copy_that_cannot_be_made_is_a_trouble(backups: tuple[Backups, list[datetime]]) -> None:
    """The service goes on, says so, and tries again."""
    made, _ = backups
    made.folder.write_bytes(b"a file where the folder should be")
    await made.look()
    assert "could not be written" in made.board.troubles["backup"].message
    made.folder.unlink()
    await made.look()
    assert made.board.troubles == {}
