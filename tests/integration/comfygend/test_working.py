"""Workers: from the queue over a ComfyUI into the spool, whatever that ComfyUI does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comfygen.images import check_image
from comfygen.simulator import Fault, Simulator
from comfygend import worker as worker_module
from comfygend.ledger import Job, JobState, RequestState
from comfygend.spool import FETCHES
from tests.integration.comfygend.working import (
    CountingSimulator,
    prefixes,
    small,
    soon,
    taken,
    unknown_lora,
    workshop,
)

HOLDING = {"pending": Fault(kind="dead_worker"), "running": Fault(kind="slow", seconds=0.3)}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its servers."""
    for name in ("IDLE_SECONDS", "SECOND_LOOK_SECONDS", "FIRST_DELAY", "LONGEST_DELAY"):
        monkeypatch.setattr(worker_module, name, 0.02)


async def test_a_job_is_brought_into_the_spool(tmp_path: Path) -> None:
    """Whole, decoded, under its key, with what the server tells of itself."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small()))
        (output,) = await made.outputs(job)
        assert check_image(made.office.spool.path(output).read_bytes()).width == output.width == 64
        assert (len(simulator.posted), simulator.posted[0].prompt_id) == (1, job.prompt_id)
        assert output.key == f"{job.stamp:%Y%m%d_%H%M%S}_flux-dev-{job.id}.png"
        assert (job.timings["simulated"], job.timings["comfyui_version"]) == (True, "0.28.1")
        assert await made.office.story(job.id) == ["queued", "submitted", "generated"]


async def test_one_job_runs_while_the_next_one_waits_in_the_queue(tmp_path: Path) -> None:
    """The GPU never waits for us, and no more than two jobs are given away."""
    async with Simulator(faults=[{"kind": "dead_worker"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        jobs = await made.office.accepted(*(small(seed=n) for n in range(4)))
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: len(simulator.posted) == 2)
            states = [(await made.office.job(job.id)).state for job in jobs]
            assert states[2:] == [JobState.QUEUED, JobState.QUEUED]
            simulator.faults.clear()
            simulator.queue.wake.set()
            await made.wait(*jobs)
        assert len(simulator.posted) == 4


async def test_jobs_go_by_priority_and_not_before_their_time(tmp_path: Path) -> None:
    """The most urgent one first; one of next year waits without holding up the others."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url, hands=1) as made:
        late = datetime(2999, 1, 1, tzinfo=UTC)
        jobs = await made.office.accepted(
            small(priority=0), small(priority=5), small(priority=9, not_before=late), small(priority=-1)
        )
        ended = await made.ended(*jobs[:2], jobs[3])
        order = {posted.prompt_id: n for n, posted in enumerate(simulator.posted)}
        assert [order[str(job.prompt_id)] for job in ended] == [1, 0, 2]
        assert (await made.office.job(jobs[2].id)).state is JobState.QUEUED


async def test_jobs_are_posted_in_the_order_in_which_they_were_taken(tmp_path: Path) -> None:
    """Also when something holds the first one up before it is posted: it waits for the second, in vain."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        jobs = await made.office.accepted(*(small(seed=n) for n in range(3)))

        async def held_up(job: Job) -> bool:
            if job.id == jobs[0].id:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await soon(lambda: simulator.posted)
            return True

        ended = await made.with_workers(is_ours=held_up).ended(*jobs)
        assert [posted.prompt_id for posted in simulator.posted] == [job.prompt_id for job in ended]


# -- after a restart --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [False, True], ids=["ledger not told", "ledger told"])
@pytest.mark.parametrize("state", ["pending", "running", "finished"])
async def test_what_ran_on_while_the_service_was_away_is_adopted(tmp_path: Path, state: str, told: bool) -> None:
    """Waiting, running or finished there: it is never posted twice."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        if state in HOLDING:
            simulator.faults.add(HOLDING[state])
        job = await taken(made, post=True, told=told)
        await soon(lambda: simulator.queue.running if state == "running" else simulator.journal.runs or state)
        async with made.working():
            await soon(lambda: job.id in made.workers[0].backend.running)
            simulator.faults.clear()
            simulator.queue.wake.set()
            (ended,) = await made.wait(job)
        assert (ended.state, ended.attempt, len(simulator.posted)) == (JobState.GENERATED, 1, 1)


async def test_a_job_that_was_written_down_and_never_posted_is_posted(tmp_path: Path) -> None:
    """Killed between the ledger and the POST: another attempt, which is not held against it."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        job = await taken(made, post=False)
        (ended,) = await made.ended(job)
        assert (ended.state, ended.attempt, ended.failures) == (JobState.GENERATED, 2, 0)
        assert len(simulator.posted) == 1


async def test_a_job_that_was_lost_meanwhile_is_tried_again(tmp_path: Path) -> None:
    """ComfyUI was restarted as well: nothing of it is left there."""
    async with Simulator(faults=[{"kind": "dead_worker"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        job = await taken(made, post=True, told=True)
        simulator.restart()
        simulator.faults.clear()
        (ended,) = await made.ended(job)
        assert (ended.state, ended.attempt, ended.failures) == (JobState.GENERATED, 2, 1)
        assert len(simulator.posted) == 2


async def test_more_jobs_than_hands_are_taken_up_after_a_restart(tmp_path: Path) -> None:
    """Each by one hand, and once."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        jobs = [await taken(made, post=True) for _ in range(4)]
        ended = await made.ended(*jobs)
        assert {job.state for job in ended} == {JobState.GENERATED}
        assert len(simulator.posted) == 4


# -- a server with faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["websocket_silent", "duplicate_events", "missing_events", "late_history"])
async def test_a_socket_that_lies_or_is_silent_does_no_harm(tmp_path: Path, kind: str) -> None:
    """History is the truth."""
    fault = {"kind": kind, "seconds": 0.2}
    async with Simulator(faults=[fault]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small()))
        assert (job.state, job.attempt, len(simulator.posted)) == (JobState.GENERATED, 1, 1)


async def test_an_acknowledgement_that_was_lost_doubles_nothing(tmp_path: Path) -> None:
    """The prompt is found under the id that we gave it."""
    async with Simulator(faults=[{"kind": "lost_ack"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small()))
        assert (job.state, job.attempt, len(simulator.posted)) == (JobState.GENERATED, 1, 1)


async def test_a_queue_that_is_lost_means_one_new_attempt(tmp_path: Path) -> None:
    """ComfyUI restarts in the middle of the run."""
    async with Simulator(faults=[{"kind": "lose_queue"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small()))
        assert (job.state, job.attempt, job.failures) == (JobState.GENERATED, 2, 1)
        assert len({posted.prompt_id for posted in simulator.posted}) == 2


async def test_a_node_that_fails_fails_the_job_at_once(tmp_path: Path) -> None:
    """With node, class and message; the request fails with it, and the next job runs."""
    fault = {"kind": "execution_error", "message": "the lake is dry \ud83c"}
    async with Simulator(faults=[fault]) as simulator, workshop(tmp_path, simulator.url) as made:
        (first,) = await made.office.accepted(small())
        (job,) = await made.ended(first)
        assert job.error is not None
        assert (job.error["code"], job.error["node_type"]) == ("execution_failed", "KSampler")
        assert "the lake is dry" in job.error["message"]
        assert (await made.office.request(job)).state is RequestState.FAILED
        (second,) = await made.ended(*await made.office.accepted(small()))
        assert (second.state, len(simulator.posted)) == (JobState.GENERATED, 2)


async def test_out_of_memory_frees_the_models_and_tries_again(tmp_path: Path) -> None:
    """The second run usually works."""
    async with CountingSimulator(faults=[{"kind": "oom"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small()))
        assert (job.state, job.failures, simulator.freed) == (JobState.GENERATED, 1, 1)


async def test_what_fails_again_and_again_fails_in_the_end(tmp_path: Path) -> None:
    """After as many attempts as are configured."""
    async with Simulator(faults=[{"kind": "oom", "times": 9}]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small()))
        assert job.error is not None
        assert (job.state, job.error["code"], job.error["attempts"]) == (JobState.FAILED, "out_of_memory", 3)
        assert len(simulator.posted) == 3


@pytest.mark.parametrize("kind", ["view_404", "truncated_view"])
async def test_an_output_that_comes_broken_is_fetched_again(tmp_path: Path, kind: str) -> None:
    """The GPU is not asked for what ComfyUI has."""
    fault = {"kind": kind, "times": FETCHES - 1}
    async with Simulator(faults=[fault]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small()))
        assert (job.state, job.attempt, len(simulator.posted)) == (JobState.GENERATED, 1, 1)


@pytest.mark.parametrize(("kind", "times"), [("view_404", FETCHES), ("truncated_view", FETCHES), ("cached_empty", 1)])
async def test_outputs_that_are_gone_broken_or_none_are_made_again_under_another_name(
    tmp_path: Path, kind: str, times: int
) -> None:
    """Else a cache would name the same lost files again."""
    fault = {"kind": kind, "times": times}
    async with Simulator(faults=[fault]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small()))
        assert (job.state, job.attempt) == (JobState.GENERATED, 2)
        assert prefixes(simulator) == [f"comfygen/{job.id}-1", f"comfygen/{job.id}-2"]


async def test_a_run_that_stalls_is_stopped_and_tried_again(tmp_path: Path) -> None:
    """Else it would stand in the way of its own next attempt for ever."""
    async with Simulator(faults=[{"kind": "stall"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        made = made.with_workers(stall_seconds=0.2)
        (job,) = await made.ended(*await made.office.accepted(small()))
        assert (job.state, job.attempt, len(simulator.posted)) == (JobState.GENERATED, 2, 2)


async def test_a_run_that_somebody_interrupts_is_tried_again(tmp_path: Path) -> None:
    """It was not us, so it was not meant."""
    async with Simulator(faults=[{"kind": "stall"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        jobs = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: simulator.interrupt())
            (job,) = await made.wait(*jobs)
        assert (job.state, job.failures, len(simulator.posted)) == (JobState.GENERATED, 1, 2)


async def test_a_dead_worker_thread_is_noticed(tmp_path: Path) -> None:
    """Nothing runs although something waits: the job is taken out, and tried again."""
    async with Simulator(faults=[{"kind": "dead_worker"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        jobs = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: len(simulator.posted) >= 2)
            simulator.restart()
            simulator.faults.clear()
            simulator.queue.wake.set()
            (job,) = await made.wait(*jobs)
        assert job.state in (JobState.GENERATED, JobState.FAILED)
        assert len(simulator.queue.pending) == 0


# -- what a server lacks ----------------------------------------------------------------------------------------------


async def test_an_unknown_lora_fails_before_anything_is_posted(tmp_path: Path) -> None:
    """With the name of one that it may have meant."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(unknown_lora()))
        assert job.error is not None
        assert (job.state, job.error["code"], simulator.posted) == (JobState.FAILED, "preflight_failed", [])
        assert "style_a.safetensors" in str(job.error["problems"])


async def test_a_job_goes_to_the_server_that_has_its_model(tmp_path: Path) -> None:
    """The other one is asked once, and not again."""
    loras = {"loras": ["style_zz.safetensors"]}
    async with (
        Simulator() as lacking,
        Simulator(models=loras) as having,
        workshop(tmp_path, lacking.url, having.url) as made,
    ):
        jobs = [(await made.office.accepted(unknown_lora()))[0] for _ in range(3)]
        ended = await made.ended(*jobs)
        assert [(job.state, job.backend) for job in ended] == [(JobState.GENERATED, having.url)] * 3
        assert (len(lacking.posted), len(having.posted)) == (0, 3)


async def test_what_every_server_lacks_fails(tmp_path: Path) -> None:
    """Both have said so."""
    async with Simulator() as one, Simulator() as other, workshop(tmp_path, one.url, other.url) as made:
        (job,) = await made.ended(*await made.office.accepted(unknown_lora()))
        assert (job.state, one.posted, other.posted) == (JobState.FAILED, [], [])


async def test_after_a_restart_every_server_is_asked_again(tmp_path: Path) -> None:
    """It may have the model now, or be the only one that is left."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.office.accepted(small())
        ledger, name = made.office.ledger, made.workers[0].backend.name
        await ledger(lambda ledger: ledger.jobs.refused(job.id, name))
        assert await ledger(lambda ledger: ledger.jobs.take(name)) is None
        await ledger(lambda ledger: ledger.jobs.reconsider())
        (ended,) = await made.ended(job)
        assert ended.state is JobState.GENERATED
