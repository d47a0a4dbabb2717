"""Workers: every way in which a prompt does not end well is told apart, with its own code, message and hint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from comfygen.simulator import Fault, Simulator
from comfygend import worker as worker_module
from comfygend.ledger import Job, JobState, NewJob, Switch
from comfygend.spool import FETCHES
from tests.integration.comfygend.indexing import until
from tests.integration.comfygend.working import CountingSimulator, Workshop, pause, small, soon, workshop

ALWAYS = 99


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its servers."""
    for name in ("IDLE_SECONDS", "SECOND_LOOK_SECONDS", "FIRST_DELAY", "LONGEST_DELAY"):
        monkeypatch.setattr(worker_module, name, 0.02)


async def failed(made: Workshop, new: NewJob | None = None) -> Job:
    """A job that fails in the end."""
    (job,) = await made.ended(*await made.office.accepted(new or small()))
    assert job.state is JobState.FAILED
    return job


@pytest.mark.parametrize(
    ("kind", "code", "attempts", "words"),
    [
        ("execution_error", "execution_failed", 1, "KSampler"),
        ("oom", "out_of_memory", 2, "out of memory"),
        ("stall", "stalled", 2, "made no progress"),
        ("view_404", "output_missing", 2, ".png"),
        ("truncated_view", "output_missing", 2, ""),
        ("cached_empty", "cached_outputs_gone", 2, "from its cache"),
        ("partial_validation", "prompt_refused", 1, ""),
        ("lose_queue", "quarantined", 2, "died 2 times"),
    ],
)
async def test_each_failure_has_its_code_and_says_what_to_do(
    tmp_path: Path, kind: str, code: str, attempts: int, words: str
) -> None:
    """What may get better is tried as often as configured, the rest once."""
    fault = Fault(kind=kind, times=ALWAYS)
    async with Simulator(faults=[fault]) as simulator, workshop(tmp_path, simulator.url, attempts=2) as made:
        job = await failed(made.with_workers(stall_seconds=0.1))
        error = job.error or {}
        assert (error["code"], error["attempts"], bool(error.get("hint"))) == (code, attempts, True)
        assert words in error["message"]


async def test_a_graph_that_comfyui_does_not_accept_fails_at_once(tmp_path: Path) -> None:
    """A model that somebody has deleted since the server was asked for its models: node and name are told."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        await made.workers[0].backend.client.object_info()
        (model,) = small().plan.models
        for names in simulator.catalogue.models.values():
            names[:] = [name for name in names if name != model]
        job = await failed(made)
        error = job.error or {}
        assert (error["code"], error["attempts"], simulator.posted) == ("prompt_refused", 1, [])
        assert all(word in error["message"] for word in ("CheckpointLoaderSimple", model))


async def test_a_queue_that_somebody_clears_means_one_new_attempt(tmp_path: Path) -> None:
    """What waited is sent again; ComfyUI has not died of it."""
    async with Simulator(faults=[Fault(kind="dead_worker")]) as simulator, workshop(tmp_path, simulator.url) as made:
        jobs = await made.office.accepted(small())
        async with made.working(), aiohttp.ClientSession() as somebody:
            made.office.bell.ring()
            await soon(lambda: simulator.queue.pending)
            await somebody.post(f"{simulator.url}/queue", json={"clear": True})
            await soon(lambda: len(simulator.posted) == 2)
            simulator.faults.clear()
            simulator.queue.wake.set()
            (job,) = await made.wait(*jobs)
        assert (job.state, job.attempt, job.crashes) == (JobState.GENERATED, 2, 0)


@pytest.mark.parametrize("kind", ["view_404", "truncated_view"])
async def test_a_video_that_comes_broken_is_fetched_again(tmp_path: Path, kind: str) -> None:
    """Videos are looked into like pictures: half a film is no output."""
    fault = Fault(kind=kind, times=FETCHES - 1)
    async with Simulator(faults=[fault]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small(workflow="wan22-t2v", frames=5)))
        (output,) = await made.outputs(job)
        assert (job.state, len(simulator.posted), output.frames) == (JobState.GENERATED, 1, 5)
        assert output.media_type.startswith("video/")


async def test_a_failed_node_is_told_with_the_tail_of_its_traceback(tmp_path: Path) -> None:
    """Which node, of which class, and where in its code."""
    async with Simulator(faults=[{"kind": "execution_error"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        error = (await failed(made)).error or {}
        assert (error["node_type"], error["exception_type"]) == ("KSampler", "RuntimeError")
        assert error["node_id"] in error["hint"]
        assert 1 <= len(error["traceback"]) <= 5


async def test_a_node_that_saved_nothing_is_named(tmp_path: Path) -> None:
    """While another one did: made again, and in the end it fails."""
    new = small()
    extra = next(node for node in new.plan.graph if node not in new.plan.output_nodes)
    partial = replace(new, plan=replace(new.plan, output_nodes=(*new.plan.output_nodes, extra)))
    async with Simulator() as simulator, workshop(tmp_path, simulator.url, attempts=2) as made:
        error = (await failed(made, partial)).error or {}
        assert (error["code"], error["attempts"]) == ("partial_outputs", 2)
        assert f"node {extra} " in error["message"]


async def test_a_job_with_which_comfyui_dies_twice_is_quarantined(tmp_path: Path) -> None:
    """Whatever its limit; the jobs behind it run."""
    faults = [Fault(kind="lose_queue", times=2)]
    async with Simulator(faults=faults) as simulator, workshop(tmp_path, simulator.url, attempts=9, hands=1) as made:
        (poison,) = await made.office.accepted(small())
        (poison,) = await made.ended(poison)
        (other,) = await made.ended(*await made.office.accepted(small()))
        assert (poison.error or {})["code"] == "quarantined"
        assert (poison.crashes, other.state, len(simulator.posted)) == (2, JobState.GENERATED, 3)


async def test_a_job_that_only_waited_when_comfyui_died_is_not_suspected(tmp_path: Path) -> None:
    """However often that happens."""
    faults = [Fault(kind="dead_worker")]
    async with Simulator(faults=faults) as simulator, workshop(tmp_path, simulator.url, attempts=9) as made:
        jobs = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            for number in (1, 2, 3):
                await soon(lambda number=number: len(simulator.posted) == number and simulator.queue.pending)
                simulator.restart()
            simulator.faults.clear()
            simulator.queue.wake.set()
            (job,) = await made.wait(*jobs)
        assert (job.state, job.crashes) == (JobState.GENERATED, 0)


async def test_a_run_that_takes_longer_than_its_request_allows_is_stopped(tmp_path: Path) -> None:
    """By its prompt id, and it is not tried again; the next one runs."""
    async with Simulator(faults=[{"kind": "stall"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        error = (await failed(made, small(timeout=0.1))).error or {}
        assert (error["code"], error["attempts"], "timeout" in error["hint"]) == ("run_timeout", 1, True)
        (other,) = await made.ended(*await made.office.accepted(small(timeout=600)))
        assert (other.state, len(simulator.posted)) == (JobState.GENERATED, 2)


async def test_a_prompt_that_waits_too_long_is_taken_out_of_the_queue(tmp_path: Path) -> None:
    """Behind somebody else's, which is left alone."""
    async with Simulator(faults=[{"kind": "stall"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        client = made.workers[0].backend.client
        await client.submit(small(seed=1).plan.graph, prompt_id=FOREIGN)
        await soon(lambda: simulator.queue.running)
        error = (await failed(made.with_workers(queue_timeout=0.1, attempts=1))).error or {}
        assert (error["code"], "queue_timeout" in error["hint"]) == ("queue_timeout", True)
        assert [item.prompt_id for item in simulator.queue.running] == [FOREIGN]
        assert simulator.queue.pending == []


FOREIGN = "0b9f1f0e-3b0a-4e6e-8c52-6d2a1f3c4d5e"


async def test_a_job_that_was_not_sent_goes_to_another_backend(tmp_path: Path) -> None:
    """The first one went away before the prompt was sent: nobody waits for it, and nothing counts against the job."""
    async with Simulator() as leaving, Simulator() as staying, workshop(tmp_path, leaving.url, staying.url) as made:
        leaving.faults.add(Fault(kind="refuse_connections", match="/object_info", times=10_000))
        jobs = await made.office.accepted(*(small(seed=n) for n in range(3)))
        ended = await made.ended(*jobs)
        assert {(job.state, job.backend, job.failures) for job in ended} == {(JobState.GENERATED, staying.url, 0)}
        assert (len(leaving.posted), len(staying.posted)) == (0, 3)


async def test_while_paused_no_prompt_is_started(tmp_path: Path) -> None:
    """What runs goes on; afterwards the rest does."""
    async with Simulator(step_seconds=0.02) as simulator, workshop(tmp_path, simulator.url, hands=1) as made:
        first, second = await made.office.accepted(small(), small(seed=8))
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: simulator.queue.running)
            await made.office.ledger(lambda ledger: ledger.orders.switch(Switch.PAUSED, on=True))
            await made.wait(first)
            await pause()
            assert (len(simulator.posted), (await made.office.job(second.id)).state) == (1, JobState.QUEUED)
            await made.office.ledger(lambda ledger: ledger.orders.switch(Switch.PAUSED, on=False))
            await made.wait(second)


async def test_a_job_that_was_written_down_and_never_posted_waits_while_paused(tmp_path: Path) -> None:
    """Posting it now would start a prompt."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.office.accepted(small())
        await made.office.ledger(lambda ledger: ledger.jobs.take(made.workers[0].backend.name))
        await made.office.ledger(lambda ledger: ledger.orders.switch(Switch.PAUSED, on=True))

        async with made.working():
            await soon(lambda: job.id in made.workers[0].backend.running)
            await soon(lambda: job.id not in made.workers[0].backend.running)
        assert (simulator.posted, (await made.office.job(job.id)).backend) == ([], None)


# -- cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["running", "pending"])
async def test_a_prompt_is_cancelled_where_it_is_and_no_other(tmp_path: Path, where: str) -> None:
    """Somebody else's prompt runs, or waits behind it."""
    async with Simulator(step_seconds=0.02) as simulator, workshop(tmp_path, simulator.url) as made:
        simulator.faults.add(Fault(kind="stall"))
        client = made.workers[0].backend.client
        if where == "pending":
            await client.submit(small(seed=1).plan.graph, prompt_id=FOREIGN)
            await soon(lambda: simulator.queue.running)
        (job,) = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: ours(simulator, job, where))
            if where == "running":
                await client.submit(small(seed=1).plan.graph, prompt_id=FOREIGN)
            await cancel(made, job)
            await soon(lambda: not ours(simulator, job, where))
            await soon(lambda: job.id not in made.workers[0].backend.running)
            await recalled(made)
        left = [item.prompt_id for item in (*simulator.queue.running, *simulator.queue.pending)]
        assert left == [FOREIGN] or simulator.journal.runs[FOREIGN] == 1
        assert (await made.office.job(job.id)).state is JobState.CANCELLED


async def test_a_job_cancelled_while_it_is_posted_is_recalled(tmp_path: Path) -> None:
    """The ledger was faster than the POST: the prompt is taken back all the same."""
    async with CountingSimulator(faults=[{"kind": "stall"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.office.accepted(small())

        async def cancelled_first(asked: Job) -> bool:
            await cancel(made, asked)
            await recalled(made)
            return True

        late = replace(made, workers=tuple(replace(worker, is_ours=cancelled_first) for worker in made.workers))
        async with late.working():
            made.office.bell.ring()
            await soon(lambda: simulator.posted)
            await soon(lambda: not simulator.queue.running and not simulator.queue.pending)
            await recalled(made)
        assert (await made.office.job(job.id)).state is JobState.CANCELLED


async def test_a_prompt_of_a_comfyui_that_is_away_is_cancelled_when_it_is_back(tmp_path: Path) -> None:
    """Also by the next service: it is written down."""
    async with Simulator(faults=[{"kind": "stall"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: simulator.queue.running)
        simulator.faults.add(Fault(kind="refuse_connections", times=10_000))
        await cancel(made, job)
        async with made.working():
            await soon(lambda: made.office.board.troubles)
            assert len(await recalls(made)) == 1
            simulator.faults.clear()
            await soon(lambda: not simulator.queue.running)
            await recalled(made)


def ours(simulator: Simulator, job: Job, where: str) -> bool:
    """Whether a prompt of ours runs or waits."""
    items = simulator.queue.running if where == "running" else simulator.queue.pending
    return any(item.prompt_id != FOREIGN for item in items)


async def cancel(made: Workshop, job: Job) -> None:
    """What control does."""
    await made.office.ledger(lambda ledger: ledger.orders.cancel(job.id, by="a person"))
    made.office.bell.ring()


async def recalls(made: Workshop) -> list[str]:
    name = made.workers[0].backend.name
    return await made.office.ledger(lambda ledger: ledger.orders.recalls(name))


async def recalled(made: Workshop) -> None:
    """Wait until the backend was told everything."""

    async def are_told() -> bool:
        return not await recalls(made)

    await until(are_told)
