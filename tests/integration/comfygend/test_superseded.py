"""A job that is cancelled and tried again while its first attempt is still in somebody's hands: it runs once more, and
only once; who held the first attempt lets go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfygen.errors import KeyInvalid, StoreUnavailable
from comfygen.simulator import Fault, Simulator
from comfygend import publisher as publisher_module
from comfygend import worker as worker_module
from comfygend.ledger import Job, JobState, Ledger, NewJob, RequestState, Withdrawn
from tests.integration.comfygend.indexing import running, until
from tests.integration.comfygend.jobs import Office
from tests.integration.comfygend.memory import MemoryStore
from tests.integration.comfygend.test_publishing import RED, pressing
from tests.integration.comfygend.working import Workshop, small, soon, taken, workshop


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its servers."""
    for name in ("IDLE_SECONDS", "SECOND_LOOK_SECONDS", "FIRST_DELAY", "LONGEST_DELAY"):
        monkeypatch.setattr(worker_module, name, 0.02)
    for name in ("LONGEST_WAIT", "IDLE_SECONDS"):
        monkeypatch.setattr(publisher_module, name, 0.01)


async def cancelled_and_retried(office: Office, job: Job, new: NewJob | None = None) -> None:
    """What a person does who changes their mind twice; the recall of the first prompt has not been told yet."""
    again = new or NewJob(request=job.request, plan=job.plan, batch_index=0, batch_of=1)
    await office.ledger(lambda ledger: ledger.orders.cancel(job.id, by="a person"))
    await office.ledger(lambda ledger: ledger.requests.filed(job.request_id))
    await office.ledger(lambda ledger: ledger.orders.retry(job.request_id))
    await office.ledger(lambda ledger: ledger.requests.accept(job.request_id, [again]))
    office.bell.ring()


async def finished(made: Workshop, job: Job) -> Job:
    """Wait until the job is generated and nobody holds it any more."""
    await made.wait(job, states={JobState.GENERATED})
    await soon(lambda: not any(worker.backend.running for worker in made.workers))
    return await made.office.job(job.id)


async def test_a_prompt_that_ends_after_its_job_was_tried_again_disturbs_nothing(tmp_path: Path) -> None:
    """The first prompt does not heed its interruption at once, as in the middle of a long step."""
    async with Simulator(faults=[{"kind": "stall"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: simulator.queue.running)
            await cancelled_and_retried(made.office, job)
            job = await finished(made, job)
        assert (job.state, job.attempt, job.failures, len(simulator.posted)) == (JobState.GENERATED, 2, 0, 2)


async def test_a_hand_that_waited_for_its_comfyui_lets_a_job_go_that_another_one_has(tmp_path: Path) -> None:
    """The other server has generated it meanwhile."""
    async with Simulator() as lost, Simulator() as other, workshop(tmp_path, lost.url, other.url) as made:
        lost.faults.add(Fault(kind="stall"))
        first, second = (replace(made, workers=(worker,)) for worker in made.workers)
        (job,) = await made.office.accepted(small())
        async with first.working():
            made.office.bell.ring()
            await soon(lambda: lost.queue.running)
            lost.faults.add(Fault(kind="refuse_connections", times=10_000))
            await soon(lambda: not first.workers[0].backend.reached.is_set())
            await cancelled_and_retried(made.office, job)
            async with second.working():
                await made.wait(job, states={JobState.GENERATED})
            lost.faults.clear()
            job = await finished(made, job)
        assert (job.backend, job.attempt, len(other.posted), len(lost.posted)) == (other.url, 2, 1, 1)
        assert made.office.spool.has(await made.outputs(job))


async def test_a_prompt_posted_after_its_job_was_tried_again_is_recalled(tmp_path: Path) -> None:
    """Another server was faster than the POST to the first one."""
    async with Simulator() as one, Simulator() as other, workshop(tmp_path, one.url, other.url) as made:
        simulators = {one.url: one, other.url: other}
        (job,) = await made.office.accepted(small())
        first: list[Simulator] = []

        async def tried_again_first(asked: Job) -> bool:
            if asked.attempt == 1:
                first.append(simulators[str(asked.backend)])
                await cancelled_and_retried(made.office, asked)
                await until(lambda: made.office.ledger(lambda ledger: not ledger.orders.recalls(str(asked.backend))))
                await made.wait(job, states={JobState.GENERATED})
                first[0].faults.add(Fault(kind="stall"))
            return True

        late = made.with_workers(is_ours=tried_again_first)
        async with late.working():
            made.office.bell.ring()
            await soon(lambda: len(one.posted) == len(other.posted) == 1)
            job = await finished(late, job)
            await soon(lambda: not first[0].queue.running and not first[0].queue.pending)
        assert (job.attempt, job.failures, simulators[str(job.backend)] is first[0]) == (2, 0, False)
        assert len(one.posted) == len(other.posted) == 1


async def test_a_job_tried_again_while_it_is_uploaded_is_not_published_as_it_was(tmp_path: Path) -> None:
    """It would be published without any output; it is generated anew instead."""
    store = MemoryStore()
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED)

        async def tried_again(asked: Job) -> bool:
            await cancelled_and_retried(made.office, asked)
            return True

        object.__setattr__(made.publisher, "is_ours", tried_again)
        with pytest.raises(Withdrawn):
            await made.publisher.publish(job)
        assert (await made.office.job(job.id)).state is JobState.QUEUED
        assert (await made.office.request(job)).state is RequestState.ACCEPTED


async def test_a_job_cancelled_while_its_key_is_refused_ends_no_service(tmp_path: Path) -> None:
    """It stays cancelled, and nothing of it is left."""
    store = MemoryStore()
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED)

        def refuse(verb: str, key: str) -> None:
            raise KeyInvalid(f"{key!r} is too long for this file system.")

        async def cancelled(asked: Job) -> bool:
            await made.office.ledger(lambda ledger: ledger.orders.cancel(asked.id, by="a person"))
            return True

        store.before = refuse
        object.__setattr__(made.publisher, "is_ours", cancelled)
        async with running([made.publisher.run()]):
            await soon(lambda: not (made.office.spool.folder / job.id).exists())
            await until(lambda: made.office.ledger(lambda ledger: not ledger.orders.unwanted()))
        assert (await made.office.job(job.id)).state is JobState.CANCELLED


async def test_an_inherited_job_whose_prompt_runs_is_not_put_back_while_the_store_is_away(tmp_path: Path) -> None:
    """Whether another service has published it is asked before anything is sent, not after a restart."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        job = await taken(made, post=True, told=True)
        await made.office.ledger(lambda ledger: inherit(ledger, job))
        made.store.errors["list"] = [StoreUnavailable() for _ in range(3)]
        (job,) = await made.ended(job)
        assert (job.state, job.attempt, len(simulator.posted)) == (JobState.GENERATED, 1, 1)


def inherit(ledger: Ledger, job: Job) -> None:
    """As if another service had begun the job's request."""
    with ledger.pages.atomic():
        ledger.pages.write("UPDATE jobs SET inherited = 1 WHERE id = ?", [job.id])
