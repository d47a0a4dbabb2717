"""Publisher: from the spool into the store; outputs first, the sidecar last, because it is the commit mark."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from comfygen.errors import ComfyGenError, KeyInvalid, NoSuchKey, StoreError
from comfygen.sidecar import Made, make_sidecar, sidecar_key
from comfygen.store import Store
from comfygend.bell import Bell
from comfygend.board import Board
from comfygend.failpoints import Point, failpoint
from comfygend.ledger import Job, Ledger, Output, Withdrawn
from comfygend.retry import backoff
from comfygend.spool import Spool
from comfygend.threads import OnThread

log = logging.getLogger(__name__)
IDLE_SECONDS = 5.0
AT_ONCE = 4
LONGEST_WAIT = 30.0
R = TypeVar("R")


class SpoolLost(ComfyGenError):
    """A file of the job is not in the spool any more."""

    code = "spool_lost"


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """Takes every generated job to the store. `look` is told each sidecar key, so that nobody waits for an event."""

    store: Store
    ledger: OnThread[Ledger]
    spool: Spool
    bell: Bell
    board: Board
    look: Callable[[str], None]
    is_ours: Callable[[Job], Awaitable[bool]]

    async def run(self) -> None:
        """Publish what is in the spool, now and from now on, until cancelled."""
        failures = 0
        while True:
            seen = self.bell.rings
            await self._discard()
            jobs = await self.ledger(lambda ledger: ledger.jobs.spooled())
            if not jobs:
                await self.bell.after(seen, IDLE_SECONDS)
                continue
            # After a failure any of them, so that one which the store never takes does not stand in the others' way.
            chosen = random.sample(jobs, min(AT_ONCE, len(jobs))) if failures else jobs[:AT_ONCE]
            async with asyncio.TaskGroup() as group:
                tries = [group.create_task(self._try(job), name=f"publish {job.id}") for job in chosen]
            results = [task.result() for task in tries]
            failures = 0 if all(results) else failures + 1
            if not failures:
                self.board.well("store")
            if not any(results):
                await asyncio.sleep(backoff(failures, random.random(), longest=LONGEST_WAIT))

    async def _discard(self) -> None:
        """Nothing is left of jobs that were cancelled after they had run; between two rounds nobody publishes them.

        Of those that another service has now, only our own files go: what lies in the store is the other's.
        """
        for job in await self.ledger(lambda ledger: ledger.orders.given_up()):
            await asyncio.to_thread(self.spool.drop, job)
            await self.ledger(lambda ledger: ledger.orders.discarded(job))  # noqa: B023
        for job in await self.ledger(lambda ledger: ledger.orders.unwanted()):
            await asyncio.to_thread(self.spool.drop, job)
            outputs = await self.ledger(lambda ledger: ledger.jobs.outputs(job))  # noqa: B023
            try:
                for key in (key for output in outputs for key in (sidecar_key(output.key), output.key)):
                    await self._remove(key)
            except StoreError as exc:
                self.board.trouble("store", exc.message, exc.hint or "Outputs wait in the spool; nothing is lost.")
                return
            await self.ledger(lambda ledger: ledger.orders.discarded(job))  # noqa: B023
            log.info("job %s was cancelled after it had run: its outputs are discarded", job)

    async def _remove(self, key: str) -> None:
        """Remove what an attempt to publish may have put there."""
        try:
            await self.store.head(key)
        except (NoSuchKey, KeyInvalid):
            return
        await self.store.delete(key)
        self.look(key)

    async def _try(self, job: Job) -> bool:
        """Publish one job; False when the store would not take it now. It stays in the spool until it does."""
        try:
            await self._publish_or_fail(job)
        except StoreError as exc:
            self.board.trouble("store", exc.message, exc.hint or "Outputs wait in the spool; nothing is lost.")
            return False
        except Withdrawn as exc:
            log.info("job %s is not published: %s", job.id, exc)
            if await self.ledger(lambda ledger: ledger.jobs.is_held(job)):
                await asyncio.to_thread(self.spool.drop, job.id)
        return True

    async def _publish_or_fail(self, job: Job) -> None:
        """Publish one job; what can never be published is generated again, or fails."""
        try:
            await self.publish(job)
        except SpoolLost:
            log.error("job %s: a file of its is missing in the spool: it is generated again", job.id)
            await self._note(job, lambda ledger: ledger.jobs.put_back(job.id, reason="spool file missing", failed=True))
            self.bell.ring()
        except KeyInvalid as exc:
            log.error("job %s can never be stored: %s", job.id, exc)
            plain = exc.to_json()
            await self._note(job, lambda ledger: ledger.jobs.failed(job.id, plain))
            self.bell.ring()

    async def _note(self, job: Job, work: Callable[[Ledger], R]) -> R:
        """Do something with a job in the ledger. Raises Withdrawn when it was cancelled and begun anew meanwhile."""
        return await self.ledger(lambda ledger: ledger.held(job, work))

    async def publish(self, job: Job) -> None:
        """Put the outputs, then their sidecars; repeating it overwrites the same keys with the same bytes."""
        if not await self.is_ours(job):
            raise Withdrawn("Another service has taken its request over.")
        outputs = await self._note(job, lambda ledger: ledger.jobs.outputs(job.id))
        if not await asyncio.to_thread(self.spool.has, outputs):
            raise SpoolLost
        for output in outputs:
            await self.store.put(
                output.key,
                self.spool.path(output),
                content_type=output.media_type,
                metadata={"sha256": output.sha256, "job": job.id},
            )
        failpoint(Point.OUTPUT_STORED)
        if job.request.metadata:
            for output in outputs:
                await self._put_sidecar(job, output, len(outputs))
        failpoint(Point.SIDECAR_STORED)
        urls = {output.n: self.store.url(output.key) for output in outputs}
        await self._note(job, lambda ledger: ledger.jobs.published(job.id, urls))
        failpoint(Point.PUBLISHED)
        await asyncio.to_thread(self.spool.drop, job.id)
        log.info("job %s published: %s", job.id, ", ".join(output.key for output in outputs))
        self.bell.ring()

    async def _put_sidecar(self, job: Job, output: Output, of: int) -> None:
        sidecar = make_sidecar(
            plan=job.plan,
            key=output.key,
            url=self.store.url(output.key),
            request=job.request,
            made=made(job, output, of),
        )
        key = sidecar_key(output.key)
        await self.store.put(key, sidecar.to_bytes(), content_type="application/json", metadata={"job": job.id})
        self.look(key)


def made(job: Job, output: Output, of: int) -> Made:
    """The facts of the run that made an output, as its sidecar tells them. `created` is when it was generated."""
    timings = dict(job.timings)
    version, simulated = timings.pop("comfyui_version", None), timings.pop("simulated", False)
    return Made(
        request_id=job.request_id,
        job_id=job.id,
        batch_index=job.batch_index + 1,
        batch_of=job.batch_of,
        image_index=output.n,
        image_of=of,
        node=output.node,
        media_type=output.media_type,
        bytes=output.bytes,
        sha256=output.sha256,
        width=output.width,
        height=output.height,
        frames=output.frames,
        fps=output.fps,
        created=datetime.fromisoformat(str(timings.get("generated_at", job.stamp.isoformat()))),
        timings=timings,
        attempts=job.attempt,
        backend=job.backend or "",
        comfyui_version=version if isinstance(version, str) else None,
        simulated=bool(simulated),
    )
