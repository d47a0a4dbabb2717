"""Intake: from a dropped file to planned jobs in the ledger, or to an error that says why not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from comfygen.errors import InboxError
from comfygend.inbox import InboxItem
from comfygend.inbox.drops import DropRefused
from comfygend.inbox.folder import FolderInbox
from comfygend.ledger import RequestRow, RequestState
from tests import making
from tests.integration.comfygend.indexing import running, until
from tests.integration.comfygend.intaking import door


async def test_a_dropped_file_becomes_a_job_with_a_plan(tmp_path: Path) -> None:
    """Its bytes are in the ledger, its file in work/, its plan resolved."""
    async with door(tmp_path) as made:
        made.drop("lake.yaml")
        (row,) = await made.decided()
        (job,) = await made.jobs(row)
        assert (row.state, row.name, row.claimed) == (RequestState.ACCEPTED, "lake.yaml", True)
        assert (job.plan.seed, job.plan.width, job.plan.steps) == (7, 64, 2)
        assert [path.name for path in made.inbox.work.iterdir()] == [f"{row.id}__lake.yaml"]
        assert await made.office.ledger(lambda ledger: ledger.requests.body(row.id)) == making.TEXT


async def test_a_file_with_several_documents_is_one_request(tmp_path: Path) -> None:
    """Each document has its own batch; places count on through the file."""
    async with door(tmp_path) as made:
        made.drop("many.yaml", making.TEXT + b"count: 2\n---\n" + making.TEXT)
        (row,) = await made.decided()
        jobs = await made.jobs(row)
        assert [(job.position, job.batch_index, job.batch_of) for job in jobs] == [(0, 0, 2), (1, 1, 2), (2, 0, 1)]
        assert [job.plan.seed for job in jobs] == [7, 8, 7]


async def test_seeds_left_to_chance_are_the_same_when_it_is_prepared_again(tmp_path: Path) -> None:
    """They follow from the request's id, and differ from job to job."""
    async with door(tmp_path) as made:
        made.drop("lake.yaml", making.TEXT.replace(b"seed: 7\n", b"count: 3\n"))
        (row,) = await made.decided()
        seeds = [job.plan.seed for job in await made.jobs(row)]
        assert len(set(seeds)) == 3
        made.drop("lake.yaml", making.TEXT.replace(b"seed: 7\n", b"count: 3\n"))
        _, other = await made.decided(2)
        assert {job.plan.seed for job in await made.jobs(other)}.isdisjoint(seeds)


async def test_one_mistake_in_one_document_refuses_the_whole_file(tmp_path: Path) -> None:
    """All mistakes at once, each with its line, and no job at all."""
    async with door(tmp_path) as made:
        made.drop("bad.yaml", making.TEXT + b"---\nworkflow: flux-dev\nstepz: 2\n")
        (row,) = await made.decided()
        assert row.state is RequestState.FAILED
        assert row.error is not None
        assert row.error["code"] == "request_invalid"
        assert {problem.get("field") for problem in row.error["problems"]} >= {"prompt", "stepz"}
        assert await made.jobs(row) == []


async def test_mistakes_of_planning_are_collected_over_all_documents(tmp_path: Path) -> None:
    """A workflow that does not exist, a parameter without a place, an image that is nowhere."""
    texts = (
        b"workflow: fluxdev\nprompt: a lake\n",
        b"workflow: flux-dev\nprompt: a lake\nfps: 8\n",
        b"workflow: sd15-img2img\nprompt: a lake\ninput_image: nowhere.png\n",
    )
    async with door(tmp_path) as made:
        made.drop("bad.yaml", b"---\n".join(texts))
        (row,) = await made.decided()
        assert row.error is not None
        told = str(row.error["problems"])
        assert [word for word in ("fluxdev", "fps", "nowhere.png") if word not in told] == []


async def test_what_is_no_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    """Also if it is found again by whoever tries again what waits."""
    async with door(tmp_path) as made:
        (made.inbox.folder / "link.yaml").symlink_to("/etc/passwd")
        (row,) = await made.decided()
        await made.intake._accept_received()
        assert row.error is not None
        assert (row.state, row.error["code"]) == (RequestState.FAILED, "inbox_refused")


async def test_a_file_that_changed_while_it_was_taken_is_never_accepted(tmp_path: Path) -> None:
    """Not even when others look at what waits at that very moment."""
    async with door(tmp_path) as made:
        made.drop("lake.yaml")
        inbox = made.inbox
        item = await anext(inbox.items())
        waiting: list[asyncio.Task[None]] = []

        class Changing(FolderInbox):
            async def claim(self, item: InboxItem, request_id: str) -> None:
                waiting.append(asyncio.create_task(intake._accept_received()))
                raise DropRefused("It changed while it was being taken.")

        intake = replace(made.intake, inbox=Changing(inbox.folder))
        await intake.take(item)
        await waiting[0]
        (row,) = await made.rows()
        assert row.error is not None
        assert row.error["code"] == "inbox_refused"


# -- what cannot be taken ---------------------------------------------------------------------------------------------


class Clamped(FolderInbox):
    """Its files cannot be renamed, as for a service without the right to write there."""

    clamped = True

    async def claim(self, item: InboxItem, request_id: str) -> None:
        if self.clamped:
            raise InboxError(f"{item.handle} cannot be taken out of the inbox.", hint="Give it the right.")
        await super().claim(item, request_id)

    async def recover(self, row: RequestRow) -> None:
        if self.clamped:
            raise InboxError(f"{row.name} cannot be taken out of the inbox.")
        await super().recover(row)


async def test_a_file_that_cannot_be_taken_stays_and_is_no_request_of_ours(tmp_path: Path) -> None:
    """It is told, keeps nobody waiting, and is taken as soon as it can be: once."""
    async with door(tmp_path) as made:
        inbox = Clamped(made.inbox.folder, rescan_seconds=0.05, settle_seconds=0.05)
        made = replace(made, inbox=inbox, intake=replace(made.intake, inbox=inbox))
        made.drop("lake.yaml")

        async def is_told() -> bool:
            return inbox.name in made.office.board.troubles and not await made.rows() and inbox.is_empty()

        async def accepted() -> bool:
            return [row.state for row in await made.rows()] == [RequestState.ACCEPTED]

        async with running([made.intake.run()]):
            await until(is_told)
            inbox.clamped = False
            await until(accepted)
        assert made.office.board.troubles == {}


async def test_a_claim_that_a_crash_interrupted_and_that_still_fails_ends_no_service(tmp_path: Path) -> None:
    """The start says what is wrong; the file stays."""
    async with door(tmp_path) as made:
        inbox = Clamped(made.inbox.folder)
        intake = replace(made.intake, inbox=inbox)
        made.drop("lake.yaml")
        item = await anext(made.inbox.items())
        await made.office.ledger(lambda ledger: ledger.requests.receive(item.arrival, "r0"))
        await intake._recover()
        assert await made.rows() == []
        assert inbox.name in made.office.board.troubles
        assert (made.inbox.folder / "lake.yaml").exists()


# -- after a crash ----------------------------------------------------------------------------------------------------


async def test_a_crash_after_the_bytes_were_safe_makes_no_second_request(tmp_path: Path) -> None:
    """The file still lies in the inbox: it is claimed under the id that it has."""
    async with door(tmp_path) as made:
        made.drop("lake.yaml")
        item = await anext(made.inbox.items())
        await made.office.ledger(lambda ledger: ledger.requests.receive(item.arrival, "r0"))
    async with door(tmp_path) as made:
        (row,) = await made.decided()
        assert (row.id, row.state) == ("r0", RequestState.ACCEPTED)
        assert [path.name for path in made.inbox.work.iterdir()] == ["r0__lake.yaml"]


async def test_a_crash_before_the_plans_were_made_makes_them_at_the_next_start(tmp_path: Path) -> None:
    """Even if the file itself is gone: its bytes are in the ledger."""
    async with door(tmp_path) as made:
        await made.office.ledger(
            lambda ledger: ledger.requests.receive(replace(making.arrival(), inbox=made.inbox.name), "r0")
        )
    async with door(tmp_path) as made:
        (row,) = await made.decided()
        assert (row.id, row.state, len(await made.jobs(row))) == ("r0", RequestState.ACCEPTED, 1)


async def test_what_is_being_taken_counts_until_it_is_in_the_ledger(tmp_path: Path) -> None:
    """An inbox is not empty while a file of its is on the way: `--once` must not end in between."""
    async with door(tmp_path) as made:
        items = made.inbox.items()
        asked = asyncio.ensure_future(anext(items))

        async def is_empty() -> bool:
            return made.inbox.is_empty()

        await until(is_empty)
        made.drop("lake.yaml")
        item = await asked
        assert not made.inbox.is_empty()
        await made.intake.take(item)
        asked = asyncio.ensure_future(anext(items))
        await until(is_empty)
        asked.cancel()
        assert [row.state for row in await made.rows()] == [RequestState.ACCEPTED]
