"""Stories: what can be told about requests and jobs to people who ask."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from comfygend.ledger.pages import Pages, Row

COLUMNS = (
    "j.id AS job, j.request_id AS request, r.name, j.state, j.priority, j.not_before, j.attempt AS attempts, "
    "j.failures, j.backend, j.prompt_id, j.timings, j.error, j.position, r.received_at, "
    "json_extract(j.request, '$.id') AS id, json_extract(j.plan, '$.workflow') AS workflow, "
    "json_extract(j.plan, '$.prompt') AS prompt, j.plan -> '$.seed' AS seed"
)
READ = ("timings", "error", "seed")  # a seed as SQLite reads it would lose its last digits
FROM = "FROM jobs j JOIN requests r ON r.id = j.request_id"


class Stories:
    """Only ever reads. Rows are JSON values."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages

    def jobs(self, states: Collection[str] = (), *, limit: int = 100) -> list[Row]:
        """The newest jobs first, of these states or of all."""
        marks = ", ".join("?" for _ in states)
        condition = f"WHERE j.state IN ({marks})" if states else ""
        order = "ORDER BY j.stamp DESC, j.request_id DESC, j.position LIMIT ?"
        return [_plain(row) for row in self.pages.all(f"SELECT {COLUMNS} {FROM} {condition} {order}", [*states, limit])]

    def jobs_of(self, request: str) -> list[Row]:
        """The jobs of a request in their order."""
        sql = f"SELECT {COLUMNS} {FROM} WHERE j.request_id = ? ORDER BY j.position"
        return [_plain(row) for row in self.pages.all(sql, [request])]

    def job(self, job: str) -> Row | None:
        """One job with all that happened to it."""
        row = self.pages.one(f"SELECT {COLUMNS} {FROM} WHERE j.id = ?", [job])
        if row is None:
            return None
        outputs = "SELECT n, node, key, url, media_type, bytes, sha256, width, height, frames FROM outputs"
        attempts = "SELECT attempt, backend, prompt_id, taken_at, ended_at, error FROM attempts"
        return _plain(row) | {
            "transitions": self.transitions(job),
            "attempts_made": self.pages.all(f"{attempts} WHERE job_id = ? ORDER BY attempt", [job]),
            "outputs": self.pages.all(f"{outputs} WHERE job_id = ? ORDER BY n", [job]),
        }

    def request(self, request: str) -> Row | None:
        """One request with its jobs and all that happened to it."""
        columns = "id AS request, name, inbox, state, received_at, ended_at, filed, notes, error"
        row = self.pages.one(f"SELECT {columns} FROM requests WHERE id = ?", [request])
        if row is None:
            return None
        told = _plain(row) | {"filed": bool(row["filed"]), "notes": json.loads(row["notes"])}
        return told | {"transitions": self.transitions(request), "jobs": self.jobs_of(request)}

    def transitions(self, subject: str) -> list[Row]:
        """Every change of state, oldest first."""
        sql = "SELECT before, after, at, reason FROM transitions WHERE subject = ? ORDER BY id"
        return self.pages.all(sql, [subject])


def _plain(row: Row) -> dict[str, Any]:
    """A row with its JSON columns read."""
    read: dict[str, Any] = {name: json.loads(row[name]) if row[name] else None for name in READ if name in row}
    return {**row, **read}
