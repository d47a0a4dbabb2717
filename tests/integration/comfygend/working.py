"""Workers at work on simulated ComfyUI servers, for as long as a test needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from comfygen.comfyui_client import ComfyUIClient, Patience
from comfygen.lora import Lora
from comfygen.simulator import Simulator
from comfygend.backends import Backend
from comfygend.heritage import Heritage
from comfygend.inputs import SpooledInputs
from comfygend.ledger import Job, JobState, NewJob, Output
from comfygend.worker import Worker
from tests import making
from tests.integration.comfygend.indexing import running, until
from tests.integration.comfygend.jobs import Office, office
from tests.integration.comfygend.memory import MemoryStore

HASTY = Patience(reconnect=0.01, history_window=0.5, lost_gap=0.01, dead_worker=0.3, unheard=1.0)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = (JobState.GENERATED, JobState.FAILED, JobState.CANCELLED)


def small(**asked: Any) -> NewJob:
    """A job that a simulator has done in no time."""
    return making.new_job(**{"width": 64, "height": 64, "steps": 2, **asked})


def unknown_lora() -> NewJob:
    """A job that wants a LoRA nobody has."""
    return small(loras=(Lora(name="style_zz.safetensors", strength=0.5),))


class CountingSimulator(Simulator):
    """Counts how often its memory was to be freed."""

    freed = 0

    def free(self) -> None:
        self.freed += 1
        super().free()


async def _ours(job: Job) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """An office, simulators, and a worker for each of them; retries are due at once."""

    office: Office
    workers: tuple[Worker, ...]
    inputs: SpooledInputs
    store: MemoryStore = field(default_factory=MemoryStore)

    async def ended(self, *jobs: Job, states: Collection[JobState] = ENDED) -> tuple[Job, ...]:
        """Let all workers work until these jobs are in one of these states; the jobs as they are then."""
        async with self.working():
            return await self.wait(*jobs, states=states)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """All workers at work; an accepted job rings no bell here, so one is rung."""
        loops = [loop() for worker in self.workers for loop in (worker.backend.watch, worker.run)]
        async with running(loops):
            yield

    async def wait(self, *jobs: Job, states: Collection[JobState] = ENDED) -> tuple[Job, ...]:
        async def are_there() -> bool:
            return all([(await self.office.job(job.id)).state in states for job in jobs])

        self.office.bell.ring()
        await until(are_there)
        return tuple([await self.office.job(job.id) for job in jobs])

    async def outputs(self, job: Job) -> list[Output]:
        return await self.office.ledger(lambda ledger: ledger.jobs.outputs(job.id))

    def with_workers(self, **changes: Any) -> Workshop:
        """The same with other settings of its workers."""
        return replace(self, workers=tuple(replace(worker, **changes) for worker in self.workers))


@asynccontextmanager
async def workshop(folder: Path, *simulators: str, **settings: Any) -> AsyncIterator[Workshop]:
    """A workshop with a worker for each address."""
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(office(folder))
        store = MemoryStore()
        inputs = SpooledInputs(folder / "inputs", allowed=[folder], store=store)
        clients = [await stack.enter_async_context(ComfyUIClient(url, patience=HASTY)) for url in simulators]
        workers = [
            Worker(
                backend=Backend(name=client.url, client=client, board=made.board),
                backends=len(clients),
                ledger=made.ledger,
                spool=made.spool,
                inputs=inputs,
                bell=made.bell,
                heritage=Heritage(store=store),
                is_ours=_ours,
                now=lambda: LONG_AGO,
                **{"attempts": 3, "stall_seconds": 30, "spool_bytes": 2**30, **settings},
            )
            for client in clients
        ]
        yield Workshop(office=made, workers=tuple(workers), inputs=inputs, store=store)


async def taken(workshop: Workshop, *, post: bool, told: bool = False) -> Job:
    """A job that a service had in hand when it was killed: written down, perhaps posted, perhaps acknowledged."""
    await workshop.office.accepted(small())
    worker = workshop.workers[0]
    job = await workshop.office.ledger(lambda ledger: ledger.jobs.take(worker.backend.name))
    assert job is not None
    if post:
        graph = await worker._ready(job)
        await worker.backend.client.submit(graph, prompt_id=str(job.prompt_id))
    if told:
        await workshop.office.ledger(lambda ledger: ledger.jobs.submitted(job.id))
    return job


async def soon(ready: Any) -> None:
    """Wait until a plain condition holds."""

    async def is_ready() -> bool:
        return bool(ready())

    await until(is_ready)


def prefixes(simulator: Simulator) -> list[str]:
    """The file name prefixes of everything that was posted."""
    nodes = [node for posted in simulator.posted for node in posted.graph.values()]
    return [node["inputs"]["filename_prefix"] for node in nodes if "filename_prefix" in node["inputs"]]


async def pause() -> None:
    """Let everybody else go on."""
    for _ in range(20):
        await asyncio.sleep(0)
