"""Filing: when a request has ended, its report is written and its file is put away for the person who dropped it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from comfygen.errors import ComfyGenError
from comfygend.bell import Bell
from comfygend.board import Board
from comfygend.failpoints import Point, failpoint
from comfygend.inbox import Ending, Inbox
from comfygend.inputs import SpooledInputs
from comfygend.ledger import Job, JobState, Ledger, Output, RequestRow, RequestState
from comfygend.threads import OnThread

log = logging.getLogger(__name__)
IDLE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Filing:
    """Puts ended requests away, in every inbox."""

    inboxes: Mapping[str, Inbox]
    ledger: OnThread[Ledger]
    inputs: SpooledInputs
    bell: Bell
    board: Board

    async def run(self) -> None:
        """File what has ended, now and from now on, until cancelled."""
        while True:
            seen = self.bell.rings
            rows = await self.ledger(lambda ledger: ledger.requests.unfiled())
            failed = {row.id: error for row in rows if (error := await self._try(row))}
            self._tell(failed, rows)
            if len(failed) < len(rows):
                holds = self.inputs.holds
                self.inputs.drop_all_but(await self.ledger(lambda ledger: ledger.jobs.inputs_in_use()), holds=holds)
            else:
                await self.bell.after(seen, IDLE_SECONDS)

    def _tell(self, failed: Mapping[str, Exception], rows: Sequence[RequestRow]) -> None:
        """The first one that cannot be put away is the trouble of its inbox; it ends when there is none."""
        for inbox in self.inboxes:
            first = next((row for row in rows if row.inbox == inbox and row.id in failed), None)
            if first is None:
                self.board.well(f"filing {inbox}")
                continue
            exc = failed[first.id]
            hint = exc.hint if isinstance(exc, ComfyGenError) else "Is there space, and may the service write there?"
            self.board.trouble(f"filing {inbox}", f"{first.name} cannot be put away: {exc}", hint)

    async def _try(self, row: RequestRow) -> Exception | None:
        inbox = self.inboxes.get(row.inbox)
        try:
            if inbox is not None:
                await inbox.file(await self._ending(row))
        except (ComfyGenError, OSError) as exc:
            return exc
        failpoint(Point.REPORTED)
        await self.ledger(lambda ledger: ledger.requests.filed(row.id))
        log.info("request %s (%s) is %s", row.id, row.name, row.state)
        self.bell.ring()
        return None

    async def _ending(self, row: RequestRow) -> Ending:
        jobs = await self.ledger(lambda ledger: ledger.jobs.of_request(row.id))
        told = [await self._job(job) for job in jobs]
        return Ending(
            request_id=row.id,
            name=row.name,
            identity=row.identity,
            ok=row.state is RequestState.DONE,
            again=row.tries > 1,
            report=report(row, jobs, told),
        )

    async def _job(self, job: Job) -> list[dict[str, Any]]:
        if job.state is not JobState.PUBLISHED:
            return []
        outputs = await self.ledger(lambda ledger: ledger.jobs.outputs(job.id))
        urls = await self.ledger(lambda ledger: ledger.jobs.urls(job.id))
        return [_output(job, output, urls.get(output.n)) for output in outputs]


def report(row: RequestRow, jobs: Sequence[Job], outputs: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What `.result.json` or `.error.json` says: what was made, with which seeds, how long it took, what went wrong."""
    error = row.error or next((job.error for job in jobs if job.state is JobState.FAILED), None)
    told: dict[str, Any] = {"request": row.id, "name": row.name, "status": str(row.state)}
    if error is not None:
        told["error"] = error
    told["outputs"] = [output for made in outputs for output in made]
    told["jobs"] = [_told(job) for job in jobs]
    if warnings := sorted({warning for job in jobs for warning in job.plan.warnings}):
        told["warnings"] = warnings
    if row.notes:
        told["notes"] = list(row.notes)
    return told | {"received_at": row.received_at, "ended_at": row.ended_at, "seconds": _seconds(row)}


def _told(job: Job) -> dict[str, Any]:
    timings = {name: value for name, value in job.timings.items() if name not in {"comfyui_version", "simulated"}}
    told = {"job": job.id, "status": str(job.state), "seed": job.plan.seed, "attempts": job.attempt, "timings": timings}
    return told | ({"error": job.error} if job.error else {})


def _output(job: Job, output: Output, url: str | None) -> dict[str, Any]:
    return {
        "key": output.key,
        "url": url,
        "job": job.id,
        "seed": job.plan.seed,
        "media_type": output.media_type,
        "bytes": output.bytes,
        "sha256": output.sha256,
        "width": output.width,
        "height": output.height,
    }


def _seconds(row: RequestRow) -> float | None:
    if row.ended_at is None:
        return None
    return round((datetime.fromisoformat(row.ended_at) - datetime.fromisoformat(row.received_at)).total_seconds(), 3)
