"""A ledger that cannot be written for a while: everybody waits, nothing fails, nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from comfygen.errors import LedgerError
from comfygend.board import Board
from comfygend.ledger import Ledger, RequestRow
from comfygend.patience import PatientLedger
from tests import making


@asynccontextmanager
async def patient(path: Path) -> AsyncIterator[tuple[PatientLedger, Board, asyncio.Event]]:
    """A ledger whose waits take no time; the event says that somebody has begun to wait."""
    waits, board = asyncio.Event(), Board()

    async def sleep(seconds: float) -> None:
        waits.set()
        await asyncio.sleep(0)

    async with PatientLedger(lambda: Ledger.open(path), board, sleep=sleep) as ledger:
        yield ledger, board, waits


def receive(ledger: Ledger, name: str = "r1", size: int = 9) -> RequestRow:
    return ledger.requests.receive(making.arrival(identity=name, body=bytes(size)), name)


def limit(pages: int) -> str:
    """How SQLite is made to find its disk full."""
    return f"PRAGMA max_page_count = {pages}"


async def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """The call ends as if nothing had been; the board says what is wrong and what to do, until it is over."""
    async with patient(tmp_path / "queue.db") as (ledger, board, waits):
        await ledger(lambda ledger: ledger.pages.all(limit(1)))
        taking = asyncio.create_task(ledger(lambda ledger: receive(ledger, size=100_000)))
        await waits.wait()
        assert "full" in board.troubles["ledger"].message
        assert "Free some space" in str(board.troubles["ledger"].hint)
        assert (await ledger(lambda ledger: ledger.counts())).requests == 0  # reading goes on
        await ledger(lambda ledger: ledger.pages.all(limit(2**30)))
        assert (await taking).id == "r1"
        assert board.troubles == {}
        assert (await ledger(lambda ledger: ledger.counts())).requests == 1


async def test_somebody_elses_lock_is_waited_for(tmp_path: Path) -> None:
    """First by SQLite, then by asking again, so that others may read in between."""
    async with patient(tmp_path / "queue.db") as (ledger, board, waits):
        await ledger(lambda ledger: ledger.pages.all("PRAGMA busy_timeout = 20"))
        with closing(sqlite3.connect(tmp_path / "queue.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            taking = asyncio.create_task(ledger(receive))
            await waits.wait()
            assert "locked" in board.troubles["ledger"].message
            other.execute("COMMIT")
            assert (await taking).id == "r1"
        assert board.troubles == {}


async def test_a_read_only_file_is_waited_for(tmp_path: Path) -> None:
    """As when a disk is mounted read-only after an error."""
    async with patient(tmp_path / "queue.db") as (ledger, board, waits):
        await ledger(lambda ledger: ledger.pages.write("PRAGMA query_only = 1"))
        taking = asyncio.create_task(ledger(receive))
        await waits.wait()
        assert board.troubles["ledger"].message == "queue.db cannot be written: attempt to write a readonly database."
        await ledger(lambda ledger: ledger.pages.write("PRAGMA query_only = 0"))
        assert (await taking).id == "r1"


async def test_whoever_waits_can_be_stopped(tmp_path: Path) -> None:
    """A stop need not wait for the disk; the trouble goes with the last one that waited."""
    async with patient(tmp_path / "queue.db") as (ledger, board, waits):
        await ledger(lambda ledger: ledger.pages.all(limit(1)))
        taking = asyncio.create_task(ledger(lambda ledger: receive(ledger, size=100_000)))
        await waits.wait()
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert board.troubles == {}


async def test_what_does_not_pass_is_an_error_at_once(tmp_path: Path) -> None:
    """Damage, and mistakes of ours."""
    async with patient(tmp_path / "queue.db") as (ledger, _, waits):
        with pytest.raises(LedgerError, match="no such table"):
            await ledger(lambda ledger: ledger.pages.all("SELECT * FROM elsewhere"))
        with pytest.raises(LedgerError, match="is not in the ledger"):
            await ledger(lambda ledger: ledger.requests.reject("r9", {}))
        assert not waits.is_set()
