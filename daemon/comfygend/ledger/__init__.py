"""The ledger (queue.db): every request and job that was ever accepted, and where each of them stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from comfygend.ledger.jobs import PRESENT, Jobs
from comfygend.ledger.opening import open_ledger
from comfygend.ledger.orders import Cancelled, Conflict, Orders, Switch
from comfygend.ledger.pages import LedgerAway, Pages, Withdrawn
from comfygend.ledger.requests import Requests
from comfygend.ledger.rows import Arrival, Job, NewJob, Output, RequestRow, job_id, prompt_id, request_id
from comfygend.ledger.states import JobState, RequestState
from comfygend.ledger.stories import Stories

__all__ = [
    "Arrival",
    "Cancelled",
    "Conflict",
    "Counts",
    "Job",
    "JobState",
    "Ledger",
    "LedgerAway",
    "NewJob",
    "Output",
    "RequestRow",
    "RequestState",
    "Switch",
    "Withdrawn",
    "job_id",
    "prompt_id",
    "request_id",
]

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much is open: requests (those not yet planned apart), jobs by state, requests whose result is not put away,
    and bytes in the spool. `due` are jobs under way (also those that wait to be tried again) or that may begin now."""

    requests: int
    received: int
    jobs: Mapping[str, int]
    due: int
    unfiled: int
    spooled_bytes: int


class Ledger:
    """The one writer of queue.db, durable at every hand-over. Synchronous: it lives on a thread of its own."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.jobs = Jobs(pages)
        self.requests = Requests(pages, self.jobs)
        self.orders = Orders(pages, self.jobs, self.requests)
        self.stories = Stories(pages)

    @classmethod
    def open(cls, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Ledger:
        """Open (and migrate) the ledger; `now` gives aware UTC times. Raises LedgerError."""
        return cls(Pages(open_ledger(path), now=now))

    def close(self) -> None:
        """Write everything home and close the file."""
        self.pages.db.conn.close()

    def held(self, job: Job, work: Callable[[Ledger], R]) -> R:
        """Do something for whoever holds an attempt of a job. Raises Withdrawn when it was begun anew meanwhile."""
        self.jobs.hold(job)
        return work(self)

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file; empty it, if no reader needs it any more."""
        (state,) = self.pages.all("PRAGMA wal_checkpoint(PASSIVE)")
        if not state["busy"] and state["log"] == state["checkpointed"]:
            self.pages.all("PRAGMA wal_checkpoint(TRUNCATE)")

    def counts(self) -> Counts:
        """How much is open."""
        number = self.pages.number
        by_state = self.pages.all(
            "SELECT state, count(*) AS n FROM jobs WHERE state IN ('queued', 'submitted', 'generated') GROUP BY state"
        )
        return Counts(
            requests=number("SELECT count(*) FROM requests WHERE state IN ('received', 'accepted')"),
            received=number("SELECT count(*) FROM requests WHERE state = 'received'"),
            jobs={row["state"]: row["n"] for row in by_state},
            due=number(f"SELECT count(*) FROM jobs WHERE {PRESENT}", {"now": self.pages.stamp()}),
            unfiled=number("SELECT count(*) FROM requests WHERE filed = 0 AND ended_at IS NOT NULL"),
            spooled_bytes=number(
                "SELECT coalesce(sum(o.bytes), 0) FROM outputs o JOIN jobs j ON j.id = o.job_id "
                "WHERE j.state = 'generated'"
            ),
        )
