"""Jobs in the ledger: from the queue through a backend and the spool into the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from comfygend.ledger.pages import Pages, Row, Withdrawn
from comfygend.ledger.rows import Job, NewJob, Output, RequestRow, dump, dump_error, job_id, job_row, prompt_id
from comfygend.ledger.states import JobState, RequestState

DUE = "(not_before IS NULL OR not_before <= :now)"
PAUSED = "EXISTS (SELECT 1 FROM switches WHERE name = 'paused')"
MAY_BEGIN = f"(backend IS NOT NULL OR ((attempt > 0 OR {DUE}) AND NOT {PAUSED}))"
PRESENT = f"(state IN ('submitted', 'generated') OR (state = 'queued' AND {MAY_BEGIN}))"


class Jobs:
    """Every job, one ComfyUI prompt each, with its attempts and outputs."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages

    def enter(self, request: RequestRow, position: int, new: NewJob) -> str | None:
        """A job, queued: a new one, or one that is to be tried again. None for one that is published already.

        Inside the caller's transaction.
        """
        job = job_id(request.id, position)
        row: Row = {
            "batch_index": new.batch_index,
            "batch_of": new.batch_of,
            "state": JobState.QUEUED,
            "priority": new.request.priority,
            "not_before": _text(new.request.not_before),
            "timings": dump({"queued_at": self.pages.stamp()}),
            "request": dump(new.request.to_json()),
            "plan": dump(new.plan.to_json()),
        }
        known = self.pages.one("SELECT state FROM jobs WHERE id = ?", [job])
        if known is not None:
            return self._reenter(job, known["state"], row)
        fixed = {"id": job, "request_id": request.id, "inherited": int(request.inherited), "position": position}
        self.pages.insert("jobs", {**fixed, "stamp": request.stamp.isoformat(timespec="microseconds"), **row})
        self.pages.note(job, None, JobState.QUEUED, None)
        return job

    def _reenter(self, job: str, state: str, row: Row) -> str | None:
        """Attempts are counted on, so that no prompt id is ever used twice."""
        if state not in (JobState.FAILED, JobState.CANCELLED):
            return None
        self.pages.write("DELETE FROM outputs WHERE job_id = ?", [job])
        fresh = {**row, "failures": 0, "crashes": 0, "prompt_id": None, "backend": None, "refused_by": "[]"}
        columns = ", ".join(f"{name} = ?" for name in fresh)
        self.pages.write(f"UPDATE jobs SET {columns}, error = NULL WHERE id = ?", [*fresh.values(), job])
        self.pages.note(job, state, JobState.QUEUED, "tried again")
        return job

    # -- towards the GPU ------------------------------------------------------------------------------------------

    def take(self, backend: str) -> Job | None:
        """The next job for a backend, its new attempt and prompt id written down before anything is sent."""
        with self.pages.atomic():
            row = self.pages.one(
                f"SELECT * FROM jobs WHERE state = 'queued' AND backend IS NULL AND {DUE} AND NOT {PAUSED} "
                "AND NOT EXISTS (SELECT 1 FROM json_each(refused_by) WHERE value = :backend) "
                "ORDER BY priority DESC, stamp, request_id, position LIMIT 1",
                {"now": self.pages.stamp(), "backend": backend},
            )
            return self._attempt(row, backend) if row else None

    def _attempt(self, row: Row, backend: str) -> Job:
        job, attempt = row["id"], row["attempt"] + 1
        prompt = prompt_id(job, attempt)
        changes = [attempt, prompt, backend, job]
        self.pages.write("UPDATE jobs SET attempt = ?, prompt_id = ?, backend = ? WHERE id = ?", changes)
        started = {"job_id": job, "attempt": attempt, "backend": backend, "taken_at": self.pages.stamp()}
        self.pages.insert("attempts", {"prompt_id": prompt, **started})
        return self.get(job)

    def hold(self, job: Job) -> None:
        """Raises Withdrawn if the attempt that somebody holds is not the job's own any more: it was begun anew."""
        if not self.is_held(job):
            raise Withdrawn(f"{job.id} was begun anew.")

    def is_held(self, job: Job) -> bool:
        """Whether the attempt that somebody holds is still the job's own, cancelled or not."""
        row = self.pages.one("SELECT attempt, prompt_id FROM jobs WHERE id = ?", [job.id])
        return row is not None and (row["attempt"], row["prompt_id"]) == (job.attempt, job.prompt_id)

    def _end_attempt(self, row: Row, error: str | None) -> None:
        ended = [self.pages.stamp(), error, row["prompt_id"]]
        self.pages.write("UPDATE attempts SET ended_at = ?, error = ? WHERE prompt_id = ?", ended)

    def taken(self, backend: str) -> list[Job]:
        """Jobs that a backend was given, or was about to be given, before a restart."""
        sql = "state IN ('queued', 'submitted') AND backend = ? ORDER BY request_id, position"
        return self._where(sql, backend)

    def orphaned(self, backends: Iterable[str]) -> list[Job]:
        """Jobs given to a backend that is no longer configured."""
        known = "backend NOT IN (SELECT value FROM json_each(?))"
        return self._where(
            f"state IN ('queued', 'submitted') AND backend IS NOT NULL AND {known}", dump(list(backends))
        )

    def submitted(self, job: str) -> None:
        """The backend has acknowledged the prompt."""
        with self.pages.atomic():
            self._time(job, {"submitted_at": self.pages.stamp()})
            self.pages.step(job, JobState.SUBMITTED)

    def put_back(self, job: str, *, reason: str, not_before: datetime | None = None, failed: bool = False) -> None:
        """Back into the queue, for any backend. `failed`: the attempt counts against the job."""
        with self.pages.atomic():
            row = self._row(job)
            self._end_attempt(row, reason)
            if row["state"] != JobState.QUEUED:
                self.pages.step(job, JobState.QUEUED, reason)
            self.pages.write(
                "UPDATE jobs SET backend = NULL, prompt_id = NULL, failures = failures + ?, "
                "not_before = coalesce(?, not_before) WHERE id = ?",
                [int(failed), _text(not_before), job],
            )

    def refused(self, job: str, backend: str) -> set[str]:
        """This backend lacks what the job needs. Gives every backend that has said so."""
        with self.pages.atomic():
            refused = {*json.loads(self._row(job)["refused_by"]), backend}
            self.pages.write("UPDATE jobs SET refused_by = ? WHERE id = ?", [dump(sorted(refused)), job])
        return refused

    def reconsider(self) -> None:
        """Ask every backend again about jobs that some have refused: it may have the model now, or be another one."""
        with self.pages.atomic():
            self.pages.write("UPDATE jobs SET refused_by = '[]' WHERE state = 'queued'")

    def crashed(self, job: str) -> None:
        """ComfyUI died while it ran this job."""
        with self.pages.atomic():
            self.pages.write("UPDATE jobs SET crashes = crashes + 1 WHERE id = ?", [job])

    def cancel(self, job: str, error: Mapping[str, Any]) -> None:
        """Take a job back; what a backend has of it is to be recalled. Inside the caller's transaction."""
        row = self._row(job)
        self.recall(row)
        self._end_attempt(row, str(error.get("message")))
        self.pages.write("UPDATE jobs SET error = ? WHERE id = ?", [dump_error(error), job])
        self.pages.step(job, JobState.CANCELLED, str(error.get("message")))

    def recall(self, row: Row) -> None:
        """The prompt of a job, if a backend may have it, is to be cancelled there. Inside the caller's transaction."""
        if row["prompt_id"] and row["backend"] and row["state"] != JobState.GENERATED:
            recalled = [row["prompt_id"], row["backend"]]
            self.pages.write("INSERT OR IGNORE INTO recalls (prompt_id, backend) VALUES (?, ?)", recalled)

    def failed(self, job: str, error: Mapping[str, Any]) -> None:
        """The job will not be tried again; its request ends when no other job is open."""
        with self.pages.atomic():
            self._end_attempt(self._row(job), str(error.get("message")))
            self.pages.write("UPDATE jobs SET error = ? WHERE id = ?", [dump_error(error), job])
            self.pages.step(job, JobState.FAILED, str(error.get("code")))
            self.settle(job)

    # -- from the spool into the store ----------------------------------------------------------------------------

    def generated(self, job: str, outputs: Sequence[Output], timings: Mapping[str, object]) -> None:
        """The outputs are in the spool: from here on the GPU is never asked again."""
        with self.pages.atomic():
            self._time(job, {**timings, "generated_at": self.pages.stamp()})
            self.pages.write("DELETE FROM outputs WHERE job_id = ?", [job])
            for output in outputs:
                self.pages.insert("outputs", {"job_id": job, **vars(output)})
            self._end_attempt(self._row(job), None)
            self.pages.step(job, JobState.GENERATED)

    def spooled(self) -> list[Job]:
        """Jobs whose outputs wait in the spool for the store, oldest first, a hundred at most."""
        return self._where("state = 'generated' ORDER BY stamp, id LIMIT 100")

    def adopted(self, job: str, outputs: Sequence[Output], urls: Mapping[int, str]) -> None:
        """Another service has published this job before its request became ours: nothing is generated."""
        with self.pages.atomic():
            self.pages.write("DELETE FROM outputs WHERE job_id = ?", [job])
            for output in outputs:
                self.pages.insert("outputs", {"job_id": job, **vars(output)})
            self._end_attempt(self._row(job), "published by another service")
        self.published(job, urls)

    def published(self, job: str, urls: Mapping[int, str]) -> None:
        """Everything of this job is in the store; its request ends when no other job is open."""
        with self.pages.atomic():
            for n, url in urls.items():
                self.pages.write("UPDATE outputs SET url = ? WHERE job_id = ? AND n = ?", [url, job, n])
            self._time(job, {"published_at": self.pages.stamp()})
            self.pages.step(job, JobState.PUBLISHED)
            self.settle(job)

    def settle(self, job: str) -> None:
        """End the request of a job when all its jobs have ended. Inside the caller's transaction."""
        request = self._row(job)["request_id"]
        states = {row["state"] for row in self.pages.all("SELECT state FROM jobs WHERE request_id = ?", [request])}
        if not states & {JobState.QUEUED, JobState.SUBMITTED, JobState.GENERATED}:
            failed, done = JobState.FAILED in states, JobState.PUBLISHED in states
            self.end(request, RequestState.FAILED if failed else RequestState.DONE if done else RequestState.CANCELLED)

    def end(self, request: str, state: RequestState) -> None:
        """End a request. Inside the caller's transaction."""
        self.pages.step(request, state)
        self.pages.write("UPDATE requests SET ended_at = ? WHERE id = ?", [self.pages.stamp(), request])

    # -- looking --------------------------------------------------------------------------------------------------

    def get(self, job: str) -> Job:
        """One job. Raises KeyError for an id that is not in the ledger."""
        return job_row(self._row(job))

    def open(self) -> list[Job]:
        """Jobs that have not ended."""
        return self._where("state IN ('queued', 'submitted', 'generated') ORDER BY request_id, position")

    def of_request(self, request: str) -> list[Job]:
        """The jobs of a request in their order."""
        return self._where("request_id = ? ORDER BY position", request)

    def outputs(self, job: str) -> list[Output]:
        """The outputs of a job in their order."""
        rows = self.pages.all("SELECT * FROM outputs WHERE job_id = ? ORDER BY n", [job])
        return [Output(**{name: value for name, value in row.items() if name not in {"job_id", "url"}}) for row in rows]

    def urls(self, job: str) -> dict[int, str]:
        """Where the outputs of a published job are, by their place."""
        return {row["n"]: row["url"] for row in self.pages.all("SELECT n, url FROM outputs WHERE job_id = ?", [job])}

    def inputs_in_use(self) -> set[str]:
        """Names of the prepared input images that open jobs still need."""
        sql = (
            "SELECT DISTINCT json_extract(plan, '$.input_image.name') AS name FROM jobs "
            "WHERE state IN ('queued', 'submitted', 'generated')"
        )
        return {row["name"] for row in self.pages.all(sql) if row["name"]}

    def _row(self, job: str) -> Row:
        row = self.pages.one("SELECT * FROM jobs WHERE id = ?", [job])
        if row is None:
            raise KeyError(job)
        return row

    def _where(self, condition: str, *parameters: object) -> list[Job]:
        return [job_row(row) for row in self.pages.all(f"SELECT * FROM jobs WHERE {condition}", parameters)]

    def _time(self, job: str, timings: Mapping[str, object]) -> None:
        merged = {**json.loads(self._row(job)["timings"]), **timings}
        self.pages.write("UPDATE jobs SET timings = ? WHERE id = ?", [dump(merged), job])


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="microseconds") if moment else None
