"""Workers while something that they need is away: nothing is lost, nothing is held against a job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfygen.errors import LedgerError
from comfygen.simulator import Fault, Simulator
from comfygend import worker as worker_module
from comfygend.ledger import Job, JobState
from tests import making
from tests.integration.comfygend.working import pause, small, soon, workshop


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its servers."""
    for name in ("IDLE_SECONDS", "SECOND_LOOK_SECONDS", "FIRST_DELAY", "LONGEST_DELAY"):
        monkeypatch.setattr(worker_module, name, 0.02)


async def test_jobs_wait_for_a_comfyui_that_is_away(tmp_path: Path) -> None:
    """Its trouble is told, and ends when it is there."""
    async with Simulator() as simulator:
        port = simulator.port
    async with workshop(tmp_path, f"http://127.0.0.1:{port}") as made:
        jobs = await made.office.accepted(small())
        async with made.working():
            await soon(lambda: made.office.board.troubles)
            assert (await made.office.job(jobs[0].id)).state is JobState.QUEUED
            async with Simulator(port=port) as simulator:
                (job,) = await made.wait(*jobs)
        assert (job.state, job.attempt, job.failures) == (JobState.GENERATED, 1, 0)
        assert made.office.board.troubles == {}


@pytest.mark.parametrize("path", ["/prompt", "/object_info", "/history", "/view", "/api/jobs", "/system_stats"])
async def test_a_server_that_is_away_for_a_moment_costs_nothing(tmp_path: Path, path: str) -> None:
    """Whatever it was asked just then: one prompt, one output."""
    fault = {"kind": "refuse_connections", "match": path, "times": 3}
    async with Simulator(faults=[fault]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.ended(*await made.office.accepted(small()))
        assert (job.state, job.failures, len(simulator.posted)) == (JobState.GENERATED, 0, 1)


async def test_a_server_that_goes_away_in_the_middle_is_asked_when_it_is_back(tmp_path: Path) -> None:
    """It comes back without its queue: one new attempt."""
    async with Simulator(faults=[{"kind": "stall"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        jobs = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: simulator.queue.running)
            simulator.faults.add(Fault(kind="refuse_connections", times=10_000))
            simulator.restart()
            await soon(lambda: made.office.board.troubles)
            simulator.faults.clear()
            (job,) = await made.wait(*jobs)
        assert (job.state, job.attempt, len(simulator.posted)) == (JobState.GENERATED, 2, 2)


async def test_a_full_spool_pauses_generation_until_the_store_takes_something(tmp_path: Path) -> None:
    """The bound is a bound; the trouble says what it waits for."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url, spool_bytes=5) as made:
        spooled = await made.office.generated(making.picture())
        jobs = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: "spool" in made.office.board.troubles)
            await pause()
            assert simulator.posted == []
            await made.office.ledger(lambda ledger: ledger.jobs.published(spooled.id, {}))
            (job,) = await made.wait(*jobs)
        assert job.state is JobState.GENERATED


async def test_a_spool_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    """A full disk: ComfyUI keeps the outputs, they are fetched as soon as there is space, and nothing runs twice."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        made.office.spool.folder.write_text("no folder", encoding="utf-8")
        jobs = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: "spool disk" in made.office.board.troubles)
            made.office.spool.folder.unlink()
            (job,) = await made.wait(*jobs)
            await soon(lambda: "spool disk" not in made.office.board.troubles)
        assert (job.state, job.attempt, job.failures) == (JobState.GENERATED, 1, 0)
        assert len(simulator.posted) == 1


async def test_an_input_image_is_uploaded_before_its_job_is_posted(tmp_path: Path) -> None:
    """And one that somebody deleted fails the job that needs it."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        new = making.img2img("comfygen-abc.png")
        await made.inputs.keep("comfygen-abc.png", making.picture(64, 64))
        (job,) = await made.ended(*await made.office.accepted(new))
        assert job.state is JobState.GENERATED
        made.inputs.drop_all_but(set(), holds=made.inputs.holds)
        (lost,) = await made.ended(*await made.office.accepted(new))
        assert lost.error is not None
        assert (lost.state, lost.error["code"], len(simulator.posted)) == (JobState.FAILED, "input_refused", 1)


async def test_a_request_that_is_taken_over_while_it_runs_is_let_go(tmp_path: Path) -> None:
    """Cancelled in the ledger: its worker goes on with the next one."""
    async with Simulator(step_seconds=0.1) as simulator, workshop(tmp_path, simulator.url, hands=1) as made:
        (job,) = await made.office.accepted(small(steps=3))
        (other,) = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: simulator.queue.running)
            await made.office.ledger(lambda ledger: ledger.requests.withdraw(job.request_id))
            (next_one,) = await made.wait(other)
        assert next_one.state is JobState.GENERATED
        assert (await made.office.job(job.id)).state is JobState.CANCELLED
        assert not (made.office.spool.folder / job.id).exists()


async def test_a_request_that_is_taken_over_before_it_failed_is_let_go_too(tmp_path: Path) -> None:
    """Nothing can be put back that is somebody else's."""
    faults = [{"kind": "oom"}]
    async with Simulator(faults=faults, step_seconds=0.05) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.office.accepted(small())

        async def withdraw_first(asked: Job) -> bool:
            await made.office.ledger(lambda ledger: ledger.requests.withdraw(job.request_id))
            return True

        made = replace(made, workers=tuple(replace(worker, is_ours=withdraw_first) for worker in made.workers))
        (other,) = await made.office.accepted(small())
        _, ended = await made.ended(job, other)
        assert ended.state is JobState.GENERATED
        assert len(simulator.posted) == 2


async def test_a_ledger_that_cannot_be_written_ends_the_worker_and_fails_no_job(tmp_path: Path) -> None:
    """The service stops, is started again, and finds the prompt where it is."""
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.office.accepted(small())
        await made.office.ledger(
            lambda ledger: ledger.pages.write(
                "CREATE TRIGGER full BEFORE UPDATE ON jobs WHEN NEW.state = 'submitted' "
                "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        )
        with pytest.raises(ExceptionGroup) as caught:
            await made.ended(job)
        assert caught.group_contains(LedgerError, match="disk full")
        await made.office.ledger(lambda ledger: ledger.pages.write("DROP TRIGGER full"))
        (ended,) = await made.ended(job)
        assert (ended.state, ended.attempt, len(simulator.posted)) == (JobState.GENERATED, 1, 1)


async def test_what_is_in_hand_when_the_service_stops_is_found_at_the_next_start(tmp_path: Path) -> None:
    """Nothing is cancelled at ComfyUI; the next service adopts it."""
    async with Simulator(step_seconds=0.05) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.office.accepted(small(steps=4))
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: simulator.queue.running)
        (ended,) = await made.ended(job)
        assert (ended.state, len(simulator.posted)) == (JobState.GENERATED, 1)
