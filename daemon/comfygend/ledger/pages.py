"""The pages that requests and jobs are written on: plain SQL, and the one function that makes transitions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias

from sqlite_utils import Database

from comfygen.errors import LedgerError
from comfygend.ledger.states import JOB_STEPS, REQUEST_STEPS, JobState, RequestState


class Withdrawn(LedgerError):
    """This was cancelled, or another service has taken it over: whoever works on it stops."""

    code = "withdrawn"


class LedgerAway(LedgerError):
    """The ledger cannot be written for now; nothing of what was asked has happened, so it may be asked again."""

    code = "ledger_away"
    retryable = True


Row: TypeAlias = dict[str, Any]
Parameters: TypeAlias = Sequence[object] | Mapping[str, object]
UNUSABLE = "What was accepted is safe in it. Stop the service, and look at it with `comfygen doctor`."
AWAY = {
    sqlite3.SQLITE_FULL: "Free some space on its disk.",
    sqlite3.SQLITE_BUSY: "Another program holds it for writing: wait for it, or end it.",
    sqlite3.SQLITE_LOCKED: "Another program holds it for writing: wait for it, or end it.",
    sqlite3.SQLITE_READONLY: "Its disk or file is read-only: make it writable.",
    sqlite3.SQLITE_IOERR_WRITE: "Its disk does not take writes: mend it.",
    sqlite3.SQLITE_IOERR_SHMSIZE: "Free some space on its disk.",
}  # no SQLITE_IOERR_FSYNC: what a failed fsync has lost, another one does not bring back


class Pages:
    """queue.db as rows. Everything that writes runs inside `atomic()`. Raises LedgerError for whatever SQLite says."""

    def __init__(self, db: Database, *, now: Callable[[], datetime]) -> None:
        self.db, self.now = db, now

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """All or nothing. Takes the write lock at once: a transaction that begins by reading may never get it."""
        with _translated():
            self.db.conn.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.conn.execute("COMMIT")
            except BaseException:
                self.db.rollback()
                raise

    def stamp(self) -> str:
        """The time now, as it is written into rows (ISO 8601, UTC)."""
        return self.now().isoformat(timespec="microseconds")

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        return next(iter(self.all(sql, parameters)), None)

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        with _translated():
            cursor = self.db.conn.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def number(self, sql: str, parameters: Parameters = ()) -> int:
        with _translated():
            return int(self.db.conn.execute(sql, parameters).fetchone()[0])

    def write(self, sql: str, parameters: Sequence[object] = ()) -> None:
        self.db.conn.execute(sql, [_storable(value) for value in parameters])

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
        if row["state"] == RequestState.CANCELLED:
            raise Withdrawn(f"{subject} is cancelled: it cannot become {after}.")
        allowed: set[Any] = (
            REQUEST_STEPS.get(RequestState(row["state"]), set())
            if isinstance(after, RequestState)
            else JOB_STEPS.get(JobState(row["state"]), set())
        )
        if after not in allowed:
            raise LedgerError(f"{subject} is {row['state']}: it cannot become {after}.")
        self.write(f"UPDATE {table} SET state = ? WHERE id = ?", [after, subject])
        self.note(subject, row["state"], after, reason)


def remedy(exc: sqlite3.Error) -> str | None:
    """What to do about an error that passes; None for any other."""
    code = int(getattr(exc, "sqlite_errorcode", 0))
    return AWAY.get(code) or AWAY.get(code & 0xFF)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        if (hint := remedy(exc)) is not None:
            raise LedgerAway(f"queue.db cannot be written: {exc}.", hint=f"{hint} It goes on by itself.") from exc
        raise LedgerError(f"queue.db cannot be used: {exc}.", hint=UNUSABLE) from exc


def _storable(value: object) -> object:
    """Text with half a surrogate pair, as an error message of a server may hold it, is no text to SQLite."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
