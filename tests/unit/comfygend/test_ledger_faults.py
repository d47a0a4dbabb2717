"""The ledger when others write into it, and when servers and people send odd values."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from comfygen.errors import LedgerError
from comfygend.ledger import JobState, Ledger, RequestState
from tests import making

A = "http://a:8188"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "queue.db")
    yield opened
    opened.close()


def taken(ledger: Ledger, **asked: Any) -> str:
    """A job that a backend has."""
    ledger.requests.receive(making.arrival(), "r1")
    ledger.requests.claimed("r1")
    (job,) = ledger.requests.accept("r1", [making.new_job(**asked)])
    assert ledger.jobs.take(A) is not None
    return job


def test_another_writer_between_reading_and_writing_breaks_no_transaction(ledger: Ledger, tmp_path: Path) -> None:
    """A transaction that begins by reading could not get the write lock any more: ours has it from the start."""
    with closing(sqlite3.connect(tmp_path / "queue.db", timeout=0)) as other:
        with ledger.pages.atomic():
            ledger.pages.all("SELECT * FROM requests")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("UPDATE requests SET name = name")
            ledger.pages.note("r1", None, "received", None)
        other.execute("UPDATE requests SET name = name")
        other.rollback()


def test_what_fails_half_way_has_not_happened(ledger: Ledger) -> None:
    """All or nothing, whatever the reason."""
    job = taken(ledger)
    with pytest.raises(RuntimeError), ledger.pages.atomic():
        ledger.pages.write("UPDATE jobs SET state = 'failed' WHERE id = ?", [job])
        raise RuntimeError
    assert ledger.jobs.get(job).state is JobState.QUEUED
    assert not ledger.pages.db.conn.in_transaction


@pytest.mark.parametrize("sql", ["SELECT * FROM nowhere", "no SQL at all"])
def test_whatever_sqlite_says_is_an_error_of_ours(ledger: Ledger, sql: str) -> None:
    """No foreign exception leaves the ledger."""
    for ask in (ledger.pages.all, ledger.pages.number):
        with pytest.raises(LedgerError, match=r"queue\.db"):
            ask(sql)
    with pytest.raises(LedgerError), ledger.pages.atomic():
        ledger.pages.write(sql)


def test_an_error_that_is_no_json_and_no_text_is_written_down_all_the_same(ledger: Ledger) -> None:
    """Servers tell of limits that are infinite, and cut characters in two."""
    job = taken(ledger)
    limits = {"max": float("inf"), "min": float("-inf"), "step": float("nan")}
    ledger.jobs.failed(job, {"code": "prompt_refused", "message": "bad \ud83c", "node_errors": limits})
    error = ledger.jobs.get(job).error
    assert error is not None
    assert error["node_errors"] == {"max": "Infinity", "min": "-Infinity", "step": "NaN"}
    assert error["message"].startswith("bad ")


def test_a_file_that_could_not_be_taken_is_forgotten(ledger: Ledger) -> None:
    """It was never ours; one that is stays."""
    ledger.requests.receive(making.arrival(), "r1")
    ledger.requests.forget("r1")
    assert ledger.counts().received == 0
    ledger.requests.receive(making.arrival(), "r2")
    ledger.requests.claimed("r2")
    ledger.requests.forget("r2")
    assert ledger.requests.get("r2").state is RequestState.RECEIVED


def test_a_job_that_waits_to_be_tried_again_is_still_to_be_done(ledger: Ledger) -> None:
    """One that waits for its own time is not; and what has ended is neither."""
    later = datetime.now(UTC) + timedelta(days=1)
    job = taken(ledger)
    ledger.jobs.put_back(job, reason="out_of_memory", not_before=later, failed=True)
    assert (ledger.counts().due, ledger.jobs.take(A)) == (1, None)
    ledger.jobs.failed(job, {"message": "no"})
    assert ledger.counts().due == 0
    ledger.requests.receive(making.arrival(identity="2:2"), "r2")
    ledger.requests.accept("r2", [making.new_job(not_before=later)])
    assert ledger.counts().due == 0


def test_refusals_can_be_forgotten(ledger: Ledger) -> None:
    """After a restart the models, or the servers, may be others."""
    job = taken(ledger)
    ledger.jobs.refused(job, A)
    ledger.jobs.put_back(job, reason="preflight_failed")
    assert ledger.jobs.take(A) is None
    ledger.jobs.reconsider()
    assert ledger.jobs.take(A) is not None
