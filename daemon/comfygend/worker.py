"""Worker: takes jobs to one backend and brings their outputs into the spool."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from comfygen.comfyui_client import Progress, PromptState, Result
from comfygen.errors import (
    ComfyGenError,
    ComfyUIError,
    ComfyUIUnavailable,
    LedgerError,
    OutputMissing,
    PreflightFailed,
    PromptLost,
    PromptStalled,
    StoreError,
)
from comfygen.graph import Graph
from comfygen.workflows import trace_roles, with_filename_prefix, with_value
from comfygend.backends import Backend
from comfygend.bell import Bell
from comfygend.failpoints import Point, failpoint
from comfygend.heritage import Heritage
from comfygend.inputs import SpooledInputs
from comfygend.ledger import Job, JobState, Ledger, Output, Withdrawn
from comfygend.logs import escaped
from comfygend.outcomes import check_outputs, explained, timings_of
from comfygend.recalls import Recalls
from comfygend.retry import Again, Quarantine, backoff, judge
from comfygend.spool import Spool, SpoolUnwritable
from comfygend.threads import OnThread
from comfygend.turn import Turn

log = logging.getLogger(__name__)
IDLE_SECONDS = 1.0
SECOND_LOOK_SECONDS = 1.0
FIRST_DELAY, LONGEST_DELAY = 0.25, 15.0
R = TypeVar("R")


class NotSent(ComfyGenError):
    """A job cannot be sent now, and certainly was not: it goes back into the queue, for whoever can."""

    code = "not_sent"


@dataclass(eq=False, kw_only=True)
class Worker:
    """Works for one backend, with two jobs in hand: one runs while the next one waits in ComfyUI's queue.

    ComfyUI runs prompts in the order in which they come, so a hand has its `turn` until its job is posted.
    """

    backend: Backend
    backends: int
    ledger: OnThread[Ledger]
    spool: Spool
    inputs: SpooledInputs
    bell: Bell
    heritage: Heritage
    is_ours: Callable[[Job], Awaitable[bool]]
    attempts: int
    stall_seconds: float
    spool_bytes: int
    queue_timeout: float = 86_400.0
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    hands: int = 2
    turn: Turn = field(default_factory=Turn)

    async def run(self) -> None:
        """Finish what was begun before a restart, then take one job after the other, until cancelled."""
        begun = await self.ledger(lambda ledger: ledger.jobs.taken(self.backend.name))
        recalls = Recalls(backend=self.backend, ledger=self.ledger, bell=self.bell)
        async with asyncio.TaskGroup() as group:
            group.create_task(recalls.run(), name=f"{self.backend.name} recalls")
            for hand in range(self.hands):
                group.create_task(self._hand(begun), name=f"{self.backend.name} hand {hand}")

    async def _hand(self, begun: list[Job]) -> None:
        while begun:
            await self._carry(begun.pop(0), resumed=True)
        while True:
            seen = self.bell.rings
            job = await self.turn.take(self._next)
            if job is None:
                await self.bell.after(seen, IDLE_SECONDS)
            else:
                failpoint(Point.TAKEN)
                await self._carry(job, resumed=False)

    async def _next(self) -> Job | None:
        if not self.backend.reached.is_set():
            return None
        if (await self.ledger(lambda ledger: ledger.counts())).spooled_bytes >= self.spool_bytes:
            hint = "Generation goes on when the store takes outputs."
            self.backend.board.trouble("spool", "The spool is full.", hint)
            return None
        self.backend.board.well("spool")
        return await self.ledger(lambda ledger: ledger.jobs.take(self.backend.name))

    async def _carry(self, job: Job, *, resumed: bool) -> None:
        """See a job through to the spool, to failure, or back into the queue; wait while the backend is away."""
        self.backend.running[job.id] = "resumed" if resumed else "taken"
        try:
            await self._through(job, resumed=resumed)
        except Withdrawn as exc:
            log.info("job %s is given up: %s", job.id, exc)
            if await self.ledger(lambda ledger: ledger.orders.recall(job)):
                await asyncio.to_thread(self.spool.drop, job.id)
        finally:
            self.turn.end(job)
            self.backend.running.pop(job.id, None)
        self.bell.ring()

    async def _through(self, job: Job, *, resumed: bool) -> None:
        delays = 0
        try:
            while not await self._tried(job, resumed=resumed):
                delays += 1
                await asyncio.sleep(backoff(delays, random.random(), first=FIRST_DELAY, longest=LONGEST_DELAY))
                job, resumed = await self._note(job, lambda ledger: ledger.jobs.get(job.id)), True  # noqa: B023
                if job.state is JobState.CANCELLED:
                    raise Withdrawn(f"{job.id} is cancelled.")
        except LedgerError:
            raise  # what the ledger cannot do is nothing against the job
        except NotSent as exc:
            await self._put_back(job, exc.message, seconds=0)
        except StoreError as exc:
            await self._put_back(job, exc.code, seconds=IDLE_SECONDS)
        except ComfyGenError as error:
            await self._judge(job, error)

    async def _tried(self, job: Job, *, resumed: bool) -> bool:
        """One try; False when it has to wait for the backend or for the spool's disk, which is nothing against it."""
        if not resumed and not self.backend.reached.is_set():
            raise NotSent("The backend went away before the job was sent.")
        await self.backend.reached.wait()
        try:
            await self._attempt(job, resumed=resumed)
        except ComfyUIUnavailable as exc:
            self.backend.lost(exc)
            return False
        except SpoolUnwritable as exc:
            self.backend.board.trouble("spool disk", exc.message, exc.hint)
            return False
        self.backend.board.well("spool disk")
        return True

    async def _attempt(self, job: Job, *, resumed: bool) -> None:
        if resumed:
            await self._check_arrival(job)
        elif job.inherited and await self._has_heritage(job):
            return
        if job.state is JobState.QUEUED:
            await self._submit(job, known=resumed or (job.inherited and await self._is_known(job)))
        failpoint(Point.SUBMITTED)
        result = await self._wait(job)
        failpoint(Point.RAN)
        outputs = await self._collect(job, result)
        failpoint(Point.FETCHED)
        timings = timings_of(result) | self._server()
        await self._note(job, lambda ledger: ledger.jobs.generated(job.id, outputs, timings))
        failpoint(Point.GENERATED)
        log.info("job %s generated: %d outputs", job.id, len(outputs))

    async def _check_arrival(self, job: Job) -> None:
        """Raises unless the server has the prompt after an interruption; one that never arrived goes into the queue."""
        if await self._is_known(job):
            return
        await asyncio.sleep(SECOND_LOOK_SECONDS)  # a POST may have been on its way when the line was cut
        if await self._is_known(job):
            return
        if job.state is JobState.SUBMITTED:
            raise self.backend.client.lost(str(job.prompt_id))
        raise NotSent("The prompt never arrived.")

    async def _has_heritage(self, job: Job) -> bool:
        """Whether another service had published this job before its request became ours."""
        outputs = await self.heritage.of(job) if job.request.metadata else []
        if outputs:
            urls = {output.n: self.heritage.store.url(output.key) for output in outputs}
            await self._note(job, lambda ledger: ledger.jobs.adopted(job.id, outputs, urls))
            log.info("job %s was published by another service", job.id)
        return bool(outputs)

    async def _is_known(self, job: Job) -> bool:
        return await self.backend.client.state(str(job.prompt_id)) is not PromptState.ABSENT

    async def _submit(self, job: Job, *, known: bool) -> None:
        if not known:
            try:
                graph = await self._ready(job)
                await self.backend.client.preflight(graph)
            except ComfyUIUnavailable as exc:
                self.backend.lost(exc)
                raise NotSent("The backend went away before the job was sent.") from exc
            if not await self.is_ours(job):
                raise Withdrawn("Another service has taken its request over.")
            await self.backend.client.submit(graph, prompt_id=str(job.prompt_id))
        self.turn.end(job)
        failpoint(Point.POSTED)
        await self._note(job, lambda ledger: ledger.jobs.submitted(job.id))
        self.backend.running[job.id] = "submitted"

    async def _ready(self, job: Job) -> Graph:
        """The graph as it is posted: its input image uploaded, its files named after this very attempt."""
        graph = with_filename_prefix(job.plan.graph, f"comfygen/{job.id}-{job.attempt}")
        image = job.plan.input_image
        if image is None:
            return graph
        content = await asyncio.to_thread(self.inputs.kept, image.name)
        name = await self.backend.client.upload_image(image.name, content)
        return graph if name == image.name else with_value(graph, trace_roles(graph), "input_image", name)

    async def _wait(self, job: Job) -> Result:
        def tell(progress: Progress) -> None:
            self.backend.running[job.id] = f"{progress.fraction:.0%}"

        return await self.backend.client.wait(
            str(job.prompt_id),
            on_progress=tell,
            no_progress_timeout=self.stall_seconds,
            queue_timeout=self.queue_timeout,
            run_timeout=job.request.timeout,
        )

    async def _collect(self, job: Job, result: Result) -> list[Output]:
        check_outputs(job.plan, result)
        try:
            return await self.spool.collect(self.backend.client, job, result.outputs)
        except OutputMissing as exc:
            raise explained(exc, result) from exc

    async def _judge(self, job: Job, error: ComfyGenError) -> None:
        """What becomes of a job after an error."""
        job = await self._note(job, lambda ledger: ledger.jobs.get(job.id))
        if isinstance(error, PromptStalled):
            await self._cancel(job)
        if isinstance(error, PreflightFailed):
            refused = await self._note(job, lambda ledger: ledger.jobs.refused(job.id, self.backend.name))
            if len(refused) < self.backends:
                await self._note(job, lambda ledger: ledger.jobs.put_back(job.id, reason=error.code))
                return
        crashes = job.crashes + await self._crashed(job, error)
        verdict = judge(error, failures=job.failures, limit=self.attempts, chance=random.random(), crashes=crashes)
        if not isinstance(verdict, Again):
            await self._fail(job, verdict.error() if isinstance(verdict, Quarantine) else error)
            return
        log.warning("job %s is tried again: %s", job.id, escaped(str(error)))
        if verdict.free:
            await self._free()
        await self._put_back(job, error.code, seconds=verdict.seconds, failed=verdict.counted)

    async def _fail(self, job: Job, error: ComfyGenError) -> None:
        log.warning("job %s failed: %s", job.id, escaped(str(error)))
        plain = error.to_json() | {"attempts": job.attempt, "backend": self.backend.name}
        await self._note(job, lambda ledger: ledger.jobs.failed(job.id, plain))

    async def _crashed(self, job: Job, error: ComfyGenError) -> bool:
        """Whether ComfyUI died while it ran this very job; that is written down."""
        if not isinstance(error, PromptLost) or not self.backend.client.has_begun(str(job.prompt_id)):
            return False
        await self._note(job, lambda ledger: ledger.jobs.crashed(job.id))
        return True

    async def _note(self, job: Job, work: Callable[[Ledger], R]) -> R:
        """Do something with a job in the ledger. Raises Withdrawn when it was cancelled and begun anew meanwhile."""
        return await self.ledger(lambda ledger: ledger.held(job, work))

    async def _put_back(self, job: Job, reason: str, *, seconds: float, failed: bool = False) -> None:
        later = self.now() + timedelta(seconds=seconds)
        await self._note(
            job, lambda ledger: ledger.jobs.put_back(job.id, reason=reason, not_before=later, failed=failed)
        )

    async def _cancel(self, job: Job) -> None:
        """Take a prompt that does not get on out of the way of the next one."""
        try:
            await self.backend.client.cancel(str(job.prompt_id))
        except ComfyUIUnavailable:
            await self.ledger(lambda ledger: ledger.orders.recall_prompt(str(job.prompt_id), self.backend.name))
        except ComfyUIError as exc:
            log.warning("%s did not cancel job %s: %s", self.backend.name, job.id, exc)

    async def _free(self) -> None:
        try:
            await self.backend.client.free()
        except ComfyUIError as exc:
            log.warning("%s did not free its memory: %s", self.backend.name, exc)

    def _server(self) -> dict[str, object]:
        server = self.backend.server
        return {"comfyui_version": server.version if server else None, "simulated": bool(server and server.simulated)}
