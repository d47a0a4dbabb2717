"""The pages that requests and jobs are written on: plain SQL, and the one function that makes transitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from sqlite_utils import Database

from comfygen.errors import LedgerError
from comfygend.ledger.states import JOB_STEPS, REQUEST_STEPS, JobState, RequestState

Row: TypeAlias = dict[str, Any]
Parameters: TypeAlias = Sequence[object] | Mapping[str, object]


class Pages:
    """queue.db as rows. Everything that writes runs inside `atomic()`."""

    def __init__(self, db: Database, *, now: Callable[[], datetime]) -> None:
        self.db, self.now = db, now
        self.atomic = db.atomic

    def stamp(self) -> str:
        """The time now, as it is written into rows (ISO 8601, UTC)."""
        return self.now().isoformat(timespec="microseconds")

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        return next(iter(self.all(sql, parameters)), None)

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        cursor = self.db.conn.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def number(self, sql: str, parameters: Parameters = ()) -> int:
        return int(self.db.conn.execute(sql, parameters).fetchone()[0])

    def write(self, sql: str, parameters: Parameters = ()) -> None:
        self.db.conn.execute(sql, parameters)

    def insert(self, table: str, row: Row) -> None:
        marks = ", ".join("?" for _ in row)
        self.write(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))

    def note(self, subject: str, before: str | None, after: str, reason: str | None) -> None:
        """Write down that something has changed its state, when, and why."""
        self.insert(
            "transitions", {"subject": subject, "before": before, "after": after, "at": self.stamp(), "reason": reason}
        )

    def step(self, subject: str, after: RequestState | JobState, reason: str | None = None) -> None:
        """The one function that makes transitions. Raises LedgerError for one that must not happen."""
        table = "requests" if isinstance(after, RequestState) else "jobs"
        row = self.one(f"SELECT state FROM {table} WHERE id = ?", [subject])
        if row is None:
            raise LedgerError(f"{subject} is not in the ledger.")
        allowed: set[Any] = (
            REQUEST_STEPS.get(RequestState(row["state"]), set())
            if isinstance(after, RequestState)
            else JOB_STEPS.get(JobState(row["state"]), set())
        )
        if after not in allowed:
            raise LedgerError(f"{subject} is {row['state']}: it cannot become {after}.")
        self.write(f"UPDATE {table} SET state = ? WHERE id = ?", [after, subject])
        self.note(subject, row["state"], after, reason)
