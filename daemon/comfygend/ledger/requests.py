"""Requests in the ledger: received, accepted, ended, put away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfygend.ledger.jobs import Jobs
from comfygend.ledger.pages import Pages
from comfygend.ledger.rows import Arrival, NewJob, RequestRow, dump, request_row
from comfygend.ledger.states import RequestState


class Requests:
    """Every request file that was ever received."""

    def __init__(self, pages: Pages, jobs: Jobs) -> None:
        self.pages, self.jobs = pages, jobs

    def receive(self, arrival: Arrival, new_id: str) -> RequestRow:
        """Commit the bytes of a file. A file found again before it was claimed keeps the id it has."""
        with self.pages.atomic():
            known = self.pages.one(
                "SELECT id FROM requests WHERE claimed = 0 AND inbox = ? AND identity = ? AND sha256 = ?",
                [arrival.inbox, arrival.identity, arrival.sha256],
            )
            if known is None:
                self._insert(arrival, new_id)
        return self.get(known["id"] if known else new_id)

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
                "received_at": self.pages.stamp(),
            },
        )
        self.pages.note(new_id, None, RequestState.RECEIVED, arrival.name)

    def claimed(self, request: str) -> None:
        """The file is ours now: it lies in the inbox's own place."""
        with self.pages.atomic():
            self.pages.write("UPDATE requests SET claimed = 1 WHERE id = ?", [request])

    def filed(self, request: str) -> None:
        """The result was written and the file put away; nothing is left to do."""
        with self.pages.atomic():
            self.pages.write("UPDATE requests SET filed = 1, claimed = 1 WHERE id = ?", [request])

    def accept(self, request: str, jobs: Sequence[NewJob]) -> tuple[str, ...]:
        """Enter the jobs of a request. One that is named by an `id` known already is not entered again, but noted."""
        with self.pages.atomic():
            notes: list[str] = []
            fresh = [job for job in jobs if self._is_new(request, job.request.id, notes)]
            ids = tuple(self.jobs.enter(request, position, job) for position, job in enumerate(fresh))
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

    def reject(self, request: str, error: Mapping[str, Any]) -> None:
        """The request cannot be used."""
        with self.pages.atomic():
            self.pages.write("UPDATE requests SET error = ? WHERE id = ?", [dump(error), request])
            self.jobs.end(request, RequestState.FAILED)

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
