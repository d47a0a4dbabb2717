"""Intake: files that cancel, files that are moved back, and an inbox that is drained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from comfygen.errors import StoreUnavailable
from comfygen.pipeline import Kitchen
from comfygend.inbox import Ending
from comfygend.inputs import SpooledInputs
from comfygend.ledger import JobState, RequestState, Switch
from tests import making
from tests.integration.comfygend.indexing import running, until
from tests.integration.comfygend.intaking import Door, door
from tests.integration.comfygend.working import pause, soon

ERROR = {"code": "execution_failed", "message": "the lake is dry"}


async def fail(made: Door, request: str) -> None:
    """Its jobs fail, and its file is put away."""
    for job in await made.office.ledger(lambda ledger: ledger.jobs.of_request(request)):
        await made.office.ledger(lambda ledger, job=job: ledger.jobs.failed(job.id, ERROR))  # type: ignore[misc]
    row = await made.office.ledger(lambda ledger: ledger.requests.get(request))
    report = {"request": request, "status": "failed"}
    await made.inbox.file(Ending(request_id=request, name=row.name, ok=False, report=report, again=row.tries > 1))
    await made.office.ledger(lambda ledger: ledger.requests.filed(request))


async def test_a_file_cancels_by_request_job_and_id(tmp_path: Path) -> None:
    """Its result says what was cancelled."""
    async with door(tmp_path) as made:
        made.drop("a.yaml", making.TEXT)
        made.drop("b.yaml", making.TEXT + b"id: may\n")
        made.drop("c.yaml", making.TEXT + b"count: 2\n")
        rows = {row.name: row for row in await made.decided(3)}
        job = (await made.jobs(rows["c.yaml"]))[0]
        for n, subject in enumerate((rows["a.yaml"].id, "may", job.id)):
            made.drop(f"cancel-{n}.yaml", f"cancel: {subject}\n".encode())
        decided = {row.name: row for row in await made.decided(6)}
        notes = [decided[f"cancel-{n}.yaml"].notes[0] for n in range(3)]
        assert [decided[name].state for name in ("a.yaml", "b.yaml", "cancel-0.yaml")] == [
            RequestState.CANCELLED,
            RequestState.CANCELLED,
            RequestState.DONE,
        ]
        assert notes[2] == f"Cancelled 1 job of request {rows['c.yaml'].id}: {job.id}."
        assert (await made.jobs(rows["c.yaml"]))[1].state is JobState.QUEUED


async def test_a_file_that_cancels_nothing_is_an_error(tmp_path: Path) -> None:
    """Nobody is called so, or it is mixed up."""
    async with door(tmp_path) as made:
        made.drop("a.yaml", b"cancel: nobody\n")
        made.drop("b.yaml", b"cancel: nobody\nprompt: a lake\n")
        rows = {row.name: row for row in await made.decided(2)}
        codes = {name: (row.state, (row.error or {})["code"]) for name, row in rows.items()}
        assert codes == {
            "a.yaml": (RequestState.FAILED, "not_found"),
            "b.yaml": (RequestState.FAILED, "request_invalid"),
        }


async def test_a_file_that_is_moved_back_runs_again_under_its_id(tmp_path: Path) -> None:
    """And when it ends its old report is gone."""
    async with door(tmp_path) as made:
        made.drop("a.yaml")
        (row,) = await made.decided()
        await fail(made, row.id)
        failed = made.inbox.folder / "failed"
        assert sorted(path.name for path in failed.iterdir()) == ["a.yaml", "a.yaml.error.json"]
        (failed / "a.yaml").rename(made.inbox.folder / "a.yaml")
        (again,) = await made.decided_again()
        assert (again.id, again.state, again.tries) == (row.id, RequestState.ACCEPTED, 2)
        assert [path.name for path in made.inbox.work.iterdir()] == [f"{row.id}__a.yaml"]
        await made.inbox.file(Ending(request_id=row.id, name="a.yaml", ok=True, report={"request": row.id}, again=True))
        assert list(failed.iterdir()) == []
        assert sorted(path.name for path in made.inbox.done.iterdir()) == ["a.yaml", "a.yaml.result.json"]


async def test_a_retry_moves_the_file_from_failed_to_done_in_the_end(tmp_path: Path) -> None:
    """Nobody has to move it; failing again it stays, with its new report."""
    async with door(tmp_path) as made:
        made.drop("a.yaml")
        (row,) = await made.decided()
        await fail(made, row.id)
        for ok, places in (
            (False, ([], ["a.yaml", "a.yaml.error.json"])),
            (True, (["a.yaml", "a.yaml.result.json"], [])),
        ):
            await made.office.ledger(lambda ledger: ledger.orders.retry(row.id))
            report = {"request": row.id, "ok": ok}
            ending = Ending(request_id=row.id, name="a.yaml", ok=ok, report=report, again=True)
            await made.inbox.file(ending)
            await made.inbox.file(ending)  # after a crash in between
            found = [sorted(path.name for path in place.iterdir()) for place in (made.inbox.done, made.inbox.failed)]
            assert tuple(found) == places
            await made.office.ledger(lambda ledger: ledger.requests.reject(row.id, ERROR))
            await made.office.ledger(lambda ledger: ledger.requests.filed(row.id))


async def test_reports_of_others_are_left_alone(tmp_path: Path) -> None:
    """Another request of the same name has failed meanwhile."""
    async with door(tmp_path) as made:
        for request in ("r8", "r9"):
            ending = Ending(request_id=request, name="a.yaml", ok=False, report={"request": request})
            await made.inbox.file(ending)
        done = Ending(request_id="r9", name="a.yaml", ok=True, report={"request": "r9"}, again=True)
        await made.inbox.file(done)
        assert [path.name for path in made.inbox.failed.iterdir()] == ["a.yaml.error.json"]


async def test_while_draining_nothing_is_taken(tmp_path: Path) -> None:
    """It lies where it is, and is taken when all goes on."""
    async with door(tmp_path) as made:
        await made.office.ledger(lambda ledger: ledger.orders.switch(Switch.DRAINING, on=True))
        made.drop("a.yaml")
        async with running([made.intake.run()]):
            await pause()
            assert (await made.rows(), (made.inbox.folder / "a.yaml").exists()) == ([], True)
            await made.office.ledger(lambda ledger: ledger.orders.switch(Switch.DRAINING, on=False))
            made.office.bell.ring()

            async def is_taken() -> bool:
                return [row.state for row in await made.rows()] == [RequestState.ACCEPTED]

            await until(is_taken)


async def test_a_file_found_just_before_draining_is_declined(tmp_path: Path) -> None:
    """Nothing of it is written down."""
    async with door(tmp_path) as made:
        made.drop("a.yaml")
        items = made.inbox.items()
        item = await anext(items)
        await made.office.ledger(lambda ledger: ledger.orders.switch(Switch.DRAINING, on=True))
        assert await made.intake.take(item) is False
        assert (await made.rows(), (made.inbox.folder / "a.yaml").exists()) == ([], True)
        await items.aclose()


async def test_a_request_that_is_cancelled_while_it_is_prepared_does_not_stop_the_intake(tmp_path: Path) -> None:
    """The next one is accepted."""
    async with door(tmp_path) as made:

        class Cancelling(SpooledInputs):
            async def read(self, reference: str) -> bytes:
                await made.office.ledger(lambda ledger: ledger.orders.cancel("r0", by="a person"))
                return making.picture(64, 64)

        inputs = Cancelling(tmp_path / "inputs", allowed=[], store=made.store)
        made = replace(made, intake=replace(made.intake, kitchen=Kitchen(library=making.LIBRARY, inputs=inputs)))
        made.drop("a.yaml", b"workflow: sd15-img2img\nprompt: a car\ninput_image: car.png\n")
        await made.decided()
        made.drop("b.yaml")
        rows = await made.decided(2)
        assert [row.state for row in rows] == [RequestState.CANCELLED, RequestState.ACCEPTED]


async def test_a_request_that_is_cancelled_while_it_waits_is_no_trouble_any_more(tmp_path: Path) -> None:
    """Its store was away; nobody waits for it now."""
    async with door(tmp_path) as made:
        made.store.errors["get"] = [StoreUnavailable("Away.") for _ in range(99)]
        made.drop("car.yaml", b"workflow: sd15-img2img\nprompt: a car\ninput_image: car.png\n")
        async with running([made.intake.run(), made.intake.retry()]):
            await soon(lambda: "request car.yaml" in made.office.board.troubles)
            await made.office.ledger(lambda ledger: ledger.orders.cancel("r0", by="a person"))
            made.intake.again.ring()
            await soon(lambda: not made.office.board.troubles)
        assert made.intake.waiting == {}
