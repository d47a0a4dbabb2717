"""Requests in the ledger: received, accepted, ended, put away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfygend.ledger.jobs import Jobs
from comfygend.ledger.pages import Pages, Row
from comfygend.ledger.rows import Arrival, NewJob, RequestRow, dump, dump_error, request_row
from comfygend.ledger.states import OPEN_JOBS, OPEN_REQUESTS, JobState, RequestState


class Requests:
    """Every request file that was ever received."""

    def __init__(self, pages: Pages, jobs: Jobs) -> None:
        self.pages, self.jobs = pages, jobs

    def receive(self, arrival: Arrival, new_id: str) -> RequestRow:
        """Commit the bytes of a file. A file found again before it was claimed keeps the id it has."""
        with self.pages.atomic():
            known = self._known(arrival)
            if known is None:
                self._insert(arrival, arrival.id or new_id)
            elif arrival.id is not None:
                self._found_again(known)
            elif known["claimed"]:
                self.reopen(known["id"], RequestState.FAILED, claimed=False)
        return self.get(known["id"] if known else arrival.id or new_id)

    def _known(self, arrival: Arrival) -> Row | None:
        if arrival.id is not None:
            return self.pages.one("SELECT * FROM requests WHERE id = ?", [arrival.id])
        unclaimed, back = "claimed = 0", "state = 'failed' AND filed = 1"  # back: moved from failed/ into the inbox
        return self._same_file(arrival, unclaimed) or self._same_file(arrival, back)

    def _same_file(self, arrival: Arrival, condition: str) -> Row | None:
        sql = f"SELECT * FROM requests WHERE {condition} AND inbox = ? AND identity = ? AND sha256 = ? ORDER BY id DESC"
        return self.pages.one(sql, [arrival.inbox, arrival.identity, arrival.sha256])

    def reopen(self, request: str, before: RequestState, *, claimed: bool = True) -> None:
        """Prepare a request anew that has ended. What is published of it is kept. Inside the caller's transaction."""
        self.pages.write(
            "UPDATE requests SET state = 'received', claimed = ?, filed = 0, tries = tries + 1, ended_at = NULL, "
            "error = NULL, notes = '[]' WHERE id = ?",
            [int(claimed), request],
        )
        self.pages.note(request, before, RequestState.RECEIVED, "tried again")

    def _found_again(self, row: Row) -> None:
        """An object that has ended lies there again: it is put away again. One we gave up is ours again: from anew."""
        if row["state"] == RequestState.CANCELLED and row["error"] is None:  # with an error, a person has cancelled it
            for table in ("outputs", "attempts"):
                self.pages.write(
                    f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM jobs WHERE request_id = ?)", [row["id"]]
                )
            self.pages.write("DELETE FROM jobs WHERE request_id = ?", [row["id"]])
            self.pages.write(
                "UPDATE requests SET state = 'received', inherited = 1, filed = 0, ended_at = NULL WHERE id = ?",
                [row["id"]],
            )
            self.pages.note(row["id"], RequestState.CANCELLED, RequestState.RECEIVED, "ours again")
        elif row["ended_at"] is not None:
            self.pages.write("UPDATE requests SET filed = 0 WHERE id = ?", [row["id"]])

    def _insert(self, arrival: Arrival, new_id: str) -> None:
        self.pages.insert(
            "requests",
            {
                "id": new_id,
                "inbox": arrival.inbox,
                "name": arrival.name,
                "identity": arrival.identity,
                "sha256": arrival.sha256,
                "body": arrival.body,
                "state": RequestState.RECEIVED,
                "inherited": int(arrival.inherited),
                "stamp": (arrival.stamp or self.pages.now()).isoformat(timespec="microseconds"),
                "received_at": self.pages.stamp(),
            },
        )
        self.pages.note(new_id, None, RequestState.RECEIVED, arrival.name)

    def claimed(self, request: str) -> None:
        """The file is ours now: it lies in the inbox's own place."""
        with self.pages.atomic():
            self.pages.write("UPDATE requests SET claimed = 1 WHERE id = ?", [request])

    def forget(self, request: str) -> None:
        """The file could not be taken out of the inbox: it is not ours, and its bytes stay where they are."""
        with self.pages.atomic():
            self.pages.write("DELETE FROM requests WHERE id = ? AND state = 'received' AND claimed = 0", [request])

    def filed(self, request: str) -> None:
        """The result was written and the file put away; nothing is left to do."""
        with self.pages.atomic():
            self.pages.write("UPDATE requests SET filed = 1, claimed = 1 WHERE id = ?", [request])

    def accept(self, request: str, jobs: Sequence[NewJob]) -> tuple[str, ...]:
        """Enter the jobs of a request. One that is named by an `id` known already is not entered again, but noted."""
        with self.pages.atomic():
            notes: list[str] = []
            fresh = [(n, job) for n, job in enumerate(jobs) if self._is_new(request, job.request.id, notes)]
            row = self.get(request)
            ids = tuple(entered for n, job in fresh if (entered := self.jobs.enter(row, n, job)))
            self.pages.write("UPDATE jobs SET state = 'cancelled' WHERE request_id = ? AND state = 'failed'", [request])
            self.pages.write("UPDATE requests SET notes = ? WHERE id = ?", [dump(notes), request])
            if ids:
                self.pages.step(request, RequestState.ACCEPTED)
            else:
                self.jobs.end(request, RequestState.DONE)
        return ids

    def _is_new(self, request: str, name: str | None, notes: list[str]) -> bool:
        if name is None:
            return True
        row = self.pages.one(
            "SELECT r.id, r.state FROM names n JOIN requests r ON r.id = n.request_id WHERE n.id = ?", [name]
        )
        if row and row["id"] != request and row["state"] not in (RequestState.FAILED, RequestState.CANCELLED):
            note = f"The id {name!r} is known from request {row['id']} ({row['state']}): not generated again."
            notes.extend([note] if note not in notes else [])
            return False
        self.pages.write(
            "INSERT INTO names (id, request_id) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET request_id = excluded.request_id",
            [name, request],
        )
        return True

    def withdraw(self, request: str) -> None:
        """Another service has this request now: nothing more is done for it here, and nothing is put away."""
        with self.pages.atomic():
            if not self.knows(request):
                return  # its claim was lost before it was received here
            row = self.get(request)
            for job in self.jobs.of_request(request):
                if job.state in OPEN_JOBS:
                    self.pages.step(job.id, JobState.CANCELLED, "taken over by another service")
            if row.state in OPEN_REQUESTS:
                self.pages.step(request, RequestState.CANCELLED, "taken over by another service")
            self.pages.write(
                "UPDATE requests SET filed = 1, ended_at = coalesce(ended_at, ?) WHERE id = ?",
                [self.pages.stamp(), request],
            )

    def reject(self, request: str, error: Mapping[str, Any]) -> None:
        """The request cannot be used."""
        with self.pages.atomic():
            self.pages.write("UPDATE requests SET error = ? WHERE id = ?", [dump_error(error), request])
            self.jobs.end(request, RequestState.FAILED)

    def knows(self, request: str) -> bool:
        """Whether a request is in the ledger."""
        return self.pages.one("SELECT 1 FROM requests WHERE id = ?", [request]) is not None

    def get(self, request: str) -> RequestRow:
        """One request. Raises KeyError for an id that is not in the ledger."""
        row = self.pages.one("SELECT * FROM requests WHERE id = ?", [request])
        if row is None:
            raise KeyError(request)
        return request_row(row)

    def body(self, request: str) -> bytes:
        """The bytes of the request file as received."""
        row = self.pages.one("SELECT body FROM requests WHERE id = ?", [request])
        return bytes(row["body"]) if row else b""

    def received(self, inbox: str) -> list[RequestRow]:
        """Requests of an inbox whose preparation has not ended."""
        return self._where("state = 'received' AND inbox = ? ORDER BY id", inbox)

    def failed_since(self, moment: str) -> int:
        """How many requests have failed since a moment (as `Pages.stamp` writes it)."""
        return self.pages.number("SELECT count(*) FROM requests WHERE state = 'failed' AND ended_at >= ?", [moment])

    def unclaimed(self, inbox: str) -> list[RequestRow]:
        """Requests whose bytes are safe while their file may still lie in the inbox."""
        return self._where("claimed = 0 AND filed = 0 AND inbox = ? ORDER BY id", inbox)

    def unfiled(self) -> list[RequestRow]:
        """Requests that have ended while their result is not put away."""
        return self._where("filed = 0 AND ended_at IS NOT NULL ORDER BY ended_at")

    def open(self, inbox: str) -> list[RequestRow]:
        """Requests of an inbox that are not put away yet."""
        return self._where("filed = 0 AND inbox = ? ORDER BY id", inbox)

    def _where(self, condition: str, *parameters: object) -> list[RequestRow]:
        return [request_row(row) for row in self.pages.all(f"SELECT * FROM requests WHERE {condition}", parameters)]
