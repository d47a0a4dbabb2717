"""Orders: what people ask for while everything runs: cancel, try again, pause, drain."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from comfygen.errors import ComfyGenError, NotFound
from comfygend.ledger.jobs import Jobs
from comfygend.ledger.pages import Pages
from comfygend.ledger.requests import Requests
from comfygend.ledger.rows import Job, RequestRow, dump, dump_error
from comfygend.ledger.states import OPEN_JOBS, OPEN_REQUESTS, JobState, RequestState

AGAIN = "`comfygen retry` runs it after all; so does moving its file back into the inbox."
REFUSED = "inbox_refused"  # of such a file the ledger has no content that could be tried again


class Conflict(ComfyGenError):
    """What was asked for cannot be done in this state."""

    code = "conflict"


class Switch(StrEnum):
    """What can be switched on; it stays on over restarts."""

    PAUSED = "paused"  # no new prompt is started
    DRAINING = "draining"  # nothing new is taken from the inboxes


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """What was cancelled: these jobs of a request, and whether the request has ended by that."""

    request: str
    jobs: tuple[str, ...]
    ended: bool

    def told(self) -> str:
        """In a sentence."""
        if not self.jobs:
            return f"Request {self.request} is cancelled." if self.ended else "It was cancelled already."
        number = "1 job" if len(self.jobs) == 1 else f"{len(self.jobs)} jobs"
        return f"Cancelled {number} of request {self.request}: {', '.join(self.jobs)}."


class Orders:
    """Orders are transactions like every other; who works on what was cancelled learns of it by `Withdrawn`."""

    def __init__(self, pages: Pages, jobs: Jobs, requests: Requests) -> None:
        self.pages, self.jobs, self.requests = pages, jobs, requests

    # -- switches -------------------------------------------------------------------------------------------------

    def switch(self, switch: Switch, *, on: bool) -> None:
        """Switch on or off; what is on already stays on since then."""
        with self.pages.atomic():
            if on:
                since = self.pages.stamp()
                self.pages.write("INSERT OR IGNORE INTO switches (name, since) VALUES (?, ?)", [switch, since])
            else:
                self.pages.write("DELETE FROM switches WHERE name = ?", [switch])

    def switched(self) -> dict[str, str]:
        """What is switched on, and since when."""
        return {row["name"]: row["since"] for row in self.pages.all("SELECT name, since FROM switches")}

    def is_on(self, switch: Switch) -> bool:
        return switch in self.switched()

    # -- cancelling -----------------------------------------------------------------------------------------------

    def cancel(self, subject: str, *, by: str, answering: str | None = None) -> Cancelled:
        """Cancel a request, a job, or the jobs that have this `id:`. Again, it changes nothing.

        `answering`: the request that asked for it ends by this. Raises NotFound, and Conflict for what has ended.
        """
        with self.pages.atomic():
            cancelled = self._cancel(subject, by)
            if answering is not None:
                self.pages.write("UPDATE requests SET notes = ? WHERE id = ?", [dump([cancelled.told()]), answering])
                self.jobs.end(answering, RequestState.DONE)
        return cancelled

    def _cancel(self, subject: str, by: str) -> Cancelled:
        row, jobs = self.found(subject)
        if jobs is not None and len(jobs) == 1 and jobs[0].state in (JobState.PUBLISHED, JobState.FAILED):
            raise Conflict(f"Job {jobs[0].id} is already done: it is {jobs[0].state}.", hint=_hint(jobs[0].state))
        if jobs is None or len(jobs) == len(self.jobs.of_request(row.id)):
            return self._cancel_request(row, by)
        return self._cancel_jobs(row, jobs, by)

    def _cancel_request(self, row: RequestRow, by: str) -> Cancelled:
        if row.state not in (*OPEN_REQUESTS, RequestState.CANCELLED):
            raise Conflict(f"Request {row.id} is already done: it is {row.state}.", hint=_hint(row.state))
        jobs = [job for job in self.jobs.of_request(row.id) if job.state in OPEN_JOBS]
        for job in jobs:
            self.jobs.cancel(job.id, _error(by))
        if row.state in OPEN_REQUESTS:
            self.jobs.end(row.id, RequestState.CANCELLED)
            self._explain(row.id, by)
        return Cancelled(
            request=row.id, jobs=tuple(job.id for job in jobs), ended=bool(jobs) or row.state in OPEN_REQUESTS
        )

    def _cancel_jobs(self, row: RequestRow, jobs: list[Job], by: str) -> Cancelled:
        chosen = [job.id for job in jobs if job.state in OPEN_JOBS]
        for job in chosen:
            self.jobs.cancel(job, _error(by))
        if chosen:
            self.jobs.settle(chosen[0])
        now = self.requests.get(row.id)
        if now.state is RequestState.CANCELLED and now.error is None:
            self._explain(row.id, by)
        return Cancelled(request=row.id, jobs=tuple(chosen), ended=bool(chosen) and now.state not in OPEN_REQUESTS)

    def _explain(self, request: str, by: str) -> None:
        self.pages.write("UPDATE requests SET error = ? WHERE id = ?", [dump_error(_error(by)), request])

    def found(self, subject: str) -> tuple[RequestRow, list[Job] | None]:
        """A request by its id (jobs: None), a job by its id, or jobs by their `id:`. Raises NotFound."""
        if self.pages.one("SELECT id FROM requests WHERE id = ?", [subject]):
            return self.requests.get(subject), None
        job = self.pages.one("SELECT request_id FROM jobs WHERE id = ?", [subject])
        if job is not None:
            return self.requests.get(job["request_id"]), [self.jobs.get(subject)]
        name = self.pages.one("SELECT request_id FROM names WHERE id = ?", [subject])
        if name is not None:
            jobs = self.jobs.of_request(name["request_id"])
            return self.requests.get(name["request_id"]), [job for job in jobs if job.request.id == subject]
        hint = "Give the id of a request or a job, or the `id:` of a request; `comfygen jobs` lists them."
        raise NotFound(f"Nothing here is called {subject!r}.", hint=hint)

    # -- trying again ---------------------------------------------------------------------------------------------

    def check_retry(self, subject: str) -> RequestRow:
        """The request that may be tried again. Raises NotFound, and Conflict when there is nothing to try."""
        row, _ = self.found(subject)
        cancelled = row.state is RequestState.CANCELLED and row.error is not None
        if row.state is not RequestState.FAILED and not cancelled:
            raise Conflict(f"Request {row.id} is {row.state}: nothing of it has failed.")
        if not row.filed:
            raise Conflict(f"Request {row.id} is being put away.", hint="Ask again in a moment.")
        if (row.error or {}).get("code") == REFUSED:
            raise Conflict(
                f"{row.name} was never read: {row.error['message'] if row.error else ''}", hint="Drop it anew."
            )
        return row

    def retry(self, subject: str) -> RequestRow:
        """Prepare a failed or cancelled request anew: what is published of it is kept, all else runs again."""
        with self.pages.atomic():
            row = self.check_retry(subject)
            self.requests.reopen(row.id, row.state)
        return self.requests.get(row.id)

    # -- taking back ----------------------------------------------------------------------------------------------

    def recall(self, job: Job) -> bool:
        """A prompt was sent although its job is cancelled, or begun anew, by now: it is to be cancelled too.

        False when it was begun anew: what lies in the spool is the new attempt's.
        """
        held = self.jobs.is_held(job)
        sql = (
            "SELECT 1 FROM jobs WHERE id = ? AND attempt >= ? AND (NOT ? OR state = 'cancelled' AND error IS NOT NULL)"
        )
        if job.prompt_id and job.backend and self.pages.one(sql, [job.id, job.attempt, held]):
            self.recall_prompt(job.prompt_id, job.backend)
        return held

    def recall_prompt(self, prompt: str, backend: str) -> None:
        """This prompt is to be cancelled, whatever becomes of its job."""
        with self.pages.atomic():
            self.pages.write("INSERT OR IGNORE INTO recalls (prompt_id, backend) VALUES (?, ?)", [prompt, backend])

    def recalls(self, backend: str) -> list[str]:
        """Prompts that a backend is to cancel."""
        return [row["prompt_id"] for row in self.pages.all("SELECT * FROM recalls WHERE backend = ?", [backend])]

    def recalled(self, prompt: str) -> None:
        """The backend has been told."""
        with self.pages.atomic():
            self.pages.write("DELETE FROM recalls WHERE prompt_id = ?", [prompt])

    def unwanted(self) -> list[str]:
        """Jobs that a person has cancelled while outputs of them lie in the spool, and in the store perhaps."""
        return self._cancelled("error IS NOT NULL")

    def given_up(self) -> list[str]:
        """Jobs that are another service's by now, while outputs of them lie in the spool."""
        return self._cancelled("error IS NULL")

    def _cancelled(self, condition: str) -> list[str]:
        sql = (
            f"SELECT id FROM jobs WHERE state = 'cancelled' AND {condition} "
            "AND EXISTS (SELECT 1 FROM outputs WHERE job_id = jobs.id)"
        )
        return [row["id"] for row in self.pages.all(sql)]

    def discarded(self, job: str) -> None:
        """Nothing of a cancelled job is left anywhere."""
        with self.pages.atomic():
            self.pages.write("DELETE FROM outputs WHERE job_id = ?", [job])


def _error(by: str) -> dict[str, Any]:
    return {"code": "cancelled", "message": f"Cancelled by {by}.", "hint": AGAIN, "retryable": False}


def _hint(state: str) -> str:
    return "`comfygen retry` runs it again." if state == "failed" else "Its outputs are in the store."
