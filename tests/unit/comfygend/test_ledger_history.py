"""What the service asks the ledger costs the same however long its history is: no question walks through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfygend.ledger import Ledger
from tests.making import arrival, new_job

ASKED: dict[str, Callable[[Ledger], object]] = {
    "counts": Ledger.counts,
    "take": lambda ledger: ledger.jobs.take("gpu"),
    "spooled": lambda ledger: ledger.jobs.spooled(),
    "inputs in use": lambda ledger: ledger.jobs.inputs_in_use(),
    "published": lambda ledger: ledger.jobs.published(_generated(ledger), {}),
    "received": lambda ledger: ledger.requests.received("folder:/inbox"),
    "receive": lambda ledger: ledger.requests.receive(arrival(identity="2:2"), "r2"),
    "accept": lambda ledger: ledger.requests.accept("r", [new_job()]),
    "unfiled": lambda ledger: ledger.requests.unfiled(),
    "filed": lambda ledger: ledger.requests.filed("r"),
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with one received request."""
    opened = Ledger.open(tmp_path / "queue.db")
    opened.requests.receive(arrival(), "r")
    yield opened
    opened.close()


def _generated(ledger: Ledger) -> str:
    """A job whose outputs are in the spool."""
    (job,) = ledger.requests.accept("r", [new_job()])
    ledger.jobs.take("gpu")
    ledger.jobs.submitted(job)
    ledger.jobs.generated(job, [], {})
    return job


@pytest.mark.parametrize("name", ASKED)
def test_no_question_of_the_running_service_walks_through_history(ledger: Ledger, name: str) -> None:
    """SQLite finds the rows of each statement by an index."""
    connection = ledger.pages.db.conn
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    ASKED[name](ledger)
    connection.set_trace_callback(None)
    statements = [sql for sql in asked if sql.startswith(("SELECT", "UPDATE", "DELETE"))]
    steps = [row[3] for sql in statements for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    walks = [step for step in steps if step.startswith("SCAN ") and "json_each" not in step]
    assert (bool(statements), walks) == (True, [])
