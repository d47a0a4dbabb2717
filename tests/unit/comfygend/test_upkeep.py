"""Upkeep: write-ahead logs stay small, and a disk that runs full is noticed."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from comfygen.index import Index
from comfygend.board import Board
from comfygend.ledger import Ledger
from comfygend.upkeep import MIB, Upkeep, is_scarce
from tests import making

KIB = 1024


def upkeep(folder: Path, checkpoint: Callable[[], Awaitable[None]], free: int = 10**12) -> Upkeep:
    """Upkeep of a ledger whose log may have a few kilobytes."""
    return Upkeep(
        folder=folder,
        logs={folder / "queue.db-wal": checkpoint},
        board=Board(),
        small=8 * KIB,
        large=64 * KIB,
        usage=lambda _: (10**12, 0, free),
    )


def fill(ledger: Ledger, name: str) -> None:
    """100 kB of requests."""
    ledger.requests.receive(making.arrival(identity=name, body=bytes(100_000)), name)


async def test_a_log_is_written_home_and_emptied(tmp_path: Path) -> None:
    """As soon as it has grown."""
    with closing(Ledger.open(tmp_path / "queue.db")) as ledger:
        fill(ledger, "r1")
        kept = upkeep(tmp_path, on_ledger(ledger))
        await kept.look()
        assert (tmp_path / "queue.db-wal").stat().st_size == 0
        assert kept.board.troubles == {}


async def test_a_long_reader_lets_it_grow_and_is_told(tmp_path: Path) -> None:
    """Nobody waits for the reader; when it ends, the log shrinks again."""
    with closing(Ledger.open(tmp_path / "queue.db")) as ledger:
        kept = upkeep(tmp_path, on_ledger(ledger))
        with closing(sqlite3.connect(tmp_path / "queue.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM requests").fetchone()
            fill(ledger, "r1")
            await kept.look()
            assert "cannot shrink" in kept.board.troubles["queue.db-wal"].message
        await kept.look()
        assert kept.board.troubles == {}
        assert (tmp_path / "queue.db-wal").stat().st_size == 0


async def test_the_log_of_the_index_is_emptied_too(tmp_path: Path) -> None:
    """Its checkpoint waits for no reader either."""
    with closing(Index.open(tmp_path / "index.db")) as index:
        with closing(sqlite3.connect(tmp_path / "index.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM generations").fetchone()
            index.reset()
            index.checkpoint()
            assert (tmp_path / "index.db-wal").stat().st_size > 0
        index.checkpoint()
        assert (tmp_path / "index.db-wal").stat().st_size == 0


@pytest.mark.parametrize(
    ("total", "free", "scarce"),
    [
        (10**12, 300 * MIB, False),
        (10**12, 200 * MIB, True),
        (100 * MIB, 10 * MIB, False),
        (100 * MIB, 4 * MIB, True),
    ],
)
def test_when_space_is_scarce(total: int, free: int, scarce: bool) -> None:
    """Under 256 MiB, or under a twentieth of a small disk."""
    assert is_scarce(total, free) is scarce


async def test_a_disk_that_runs_full_is_told(tmp_path: Path) -> None:
    """Before everything stands still."""

    async def nothing() -> None:
        return

    kept = upkeep(tmp_path, nothing, free=MIB)
    await kept.look()
    assert "hardly any space" in kept.board.troubles["disk"].message


def on_ledger(ledger: Ledger) -> Callable[[], Awaitable[None]]:
    """A checkpoint as the service calls it."""

    async def checkpoint() -> None:
        ledger.checkpoint()

    return checkpoint
