"""Control of a running service over http: its routes, its errors, and what may not be asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfygen.errors import InboxError, StoreUnavailable
from comfygen.simulator import Simulator
from comfygend.board import Board
from comfygend.control import Control
from comfygend.http import serving
from comfygend.inbox.folder import FolderInbox
from comfygend.ledger import Arrival, Job, RequestRow, RequestState
from tests import making
from tests.integration.comfygend.jobs import Office, office
from tests.integration.comfygend.working import small, soon, workshop

HEADERS = {"X-ComfyGen": "control"}
INBOX = "folder:/inbox"
ERROR = {"code": "execution_failed", "message": "the lake is dry"}


class ReclaimingInbox(FolderInbox):
    """Of a request that is tried again it says what it is told to."""

    refusal: Exception | None = None

    async def reclaim(self, row: RequestRow) -> None:
        if self.refusal:
            raise self.refusal


@dataclass(kw_only=True)
class Desk:
    """A service's control, and a client of it. `rung` are the inboxes that were woken."""

    office: Office
    inbox: ReclaimingInbox
    session: aiohttp.ClientSession
    rung: list[str] = field(default_factory=list)

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self.session.get(path) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        async with self.session.post(path, headers=HEADERS if headers is None else headers) as answer:
            return answer.status, await answer.json()

    async def failed(self, *, filed: bool = True) -> Job:
        """A job that has failed, its request put away."""
        (job,) = await self.office.accepted(small())
        await self.office.ledger(lambda ledger: ledger.jobs.failed(job.id, ERROR))
        if filed:
            await self.office.ledger(lambda ledger: ledger.requests.filed(job.request_id))
        return job


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    async def counts() -> dict[str, object]:
        return {}

    async with office(folder) as made:
        inbox, rung = ReclaimingInbox(folder / "requests"), list[str]()
        control = Control(
            ledger=made.ledger,
            bell=made.bell,
            inboxes={INBOX: inbox},
            again={INBOX: lambda: rung.append(INBOX)},
            backends=(),
        )
        async with (
            serving("127.0.0.1", 0, Board(), counts, control=control) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        ):
            yield Desk(office=made, inbox=inbox, session=session, rung=rung)


# -- who may ask ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/pause", "/drain", "/resume", "/jobs/x/cancel", "/requests/x/cancel", "/requests/x/retry"]
)
@pytest.mark.parametrize("headers", [{}, {"X-ComfyGen": "x"}, {**HEADERS, "Origin": "http://127.0.0.1:8189"}])
async def test_a_web_page_can_order_nothing(tmp_path: Path, path: str, headers: dict[str, str]) -> None:
    """It cannot send the header, and a browser names the page's origin, whatever host it thinks this is."""
    async with desk(tmp_path) as made:
        status, told = await made.post(path, headers)
        assert (status, told["error"]["code"]) == (403, "forbidden")
        assert await made.office.ledger(lambda ledger: ledger.orders.switched()) == {}


async def test_a_get_orders_nothing(tmp_path: Path) -> None:
    """A picture in a web page could send one."""
    async with desk(tmp_path) as made, made.session.get("/pause") as answer:
        assert answer.status == 405


# -- looking ----------------------------------------------------------------------------------------------------------


async def test_jobs_are_listed_by_state(tmp_path: Path) -> None:
    """Newest first, at most as many as asked for."""
    async with desk(tmp_path) as made:
        failed = await made.failed()
        (queued,) = await made.office.accepted(small())
        _, everything = await made.get("/jobs")
        assert [job["job"] for job in everything["jobs"]] == [queued.id, failed.id]
        assert everything["switches"] == {"paused": None, "draining": None}
        for query, found in (("state=failed", failed), ("state=queued,submitted", queued), ("limit=1", queued)):
            _, told = await made.get(f"/jobs?{query}")
            assert [job["job"] for job in told["jobs"]] == [found.id]


@pytest.mark.parametrize("query", ["state=lost", "limit=0", "limit=1001", "limit=many", "limit=9" + "0" * 5000])
async def test_a_question_that_makes_no_sense_is_answered_400(tmp_path: Path, query: str) -> None:
    """With what would make sense."""
    async with desk(tmp_path) as made:
        status, told = await made.get(f"/jobs?{query}")
        assert (status, told["error"]["code"]) == (400, "invalid")


async def test_a_job_and_a_request_are_shown_whole(tmp_path: Path) -> None:
    """Error, transitions, attempts; a request also by the `id:` in its file."""
    async with desk(tmp_path) as made:
        (job,) = await made.office.accepted(small(id="may"))
        await made.office.ledger(lambda ledger: ledger.jobs.failed(job.id, ERROR))
        status, told = await made.get(f"/jobs/{job.id}")
        assert (status, told["state"], told["error"]["message"]) == (200, "failed", "the lake is dry")
        for name in (job.request_id, "may"):
            status, told = await made.get(f"/requests/{name}")
            assert (status, told["request"], [each["job"] for each in told["jobs"]]) == (200, job.request_id, [job.id])


async def test_what_is_not_there_is_404_everywhere(tmp_path: Path) -> None:
    """A job is no request, and a request no job."""
    async with desk(tmp_path) as made:
        (job,) = await made.office.accepted(small())
        for path in ("/jobs/x", f"/jobs/{job.request_id}", "/requests/x", f"/requests/{job.id}"):
            status, told = await made.get(path)
            assert (status, told["error"]["code"]) == (404, "not_found"), path
        for path in (
            "/jobs/x/cancel",
            f"/requests/{job.id}/cancel",
            f"/jobs/{job.request_id}/cancel",
            "/requests/x/retry",
        ):
            assert (await made.post(path))[0] == 404, path


async def test_progress_is_told_while_a_job_runs(tmp_path: Path) -> None:
    """As its worker knows it."""
    async with Simulator(faults=[{"kind": "stall"}]) as simulator, workshop(tmp_path, simulator.url) as made:
        (job,) = await made.office.accepted(small())
        backends = [worker.backend for worker in made.workers]
        control = Control(ledger=made.office.ledger, bell=made.office.bell, inboxes={}, again={}, backends=backends)
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: simulator.queue.running)
            told = await control.jobs("", "10")
        assert told["jobs"][0]["progress"]
        assert (await control.job(job.id))["state"] == "submitted"


# -- ordering ---------------------------------------------------------------------------------------------------------


async def test_cancelling_says_what_was_cancelled(tmp_path: Path) -> None:
    """And the loops are woken."""
    async with desk(tmp_path) as made:
        first, second = await made.office.accepted(small(), small(seed=8))
        rings = made.office.bell.rings
        status, told = await made.post(f"/jobs/{first.id}/cancel")
        assert (status, told["cancelled"], told["ended"]) == (200, [first.id], False)
        status, told = await made.post(f"/requests/{first.request_id}/cancel")
        assert (status, told["cancelled"], told["ended"]) == (200, [second.id], True)
        assert made.office.bell.rings == rings + 2


async def test_what_is_already_done_is_409(tmp_path: Path) -> None:
    """Published is published."""
    async with desk(tmp_path) as made:
        job = await made.office.generated(making.picture())
        await made.office.ledger(lambda ledger: ledger.jobs.published(job.id, {1: "url"}))
        for path in (f"/jobs/{job.id}/cancel", f"/requests/{job.request_id}/cancel"):
            status, told = await made.post(path)
            assert (status, told["error"]["code"], "already done" in told["error"]["message"]) == (
                409,
                "conflict",
                True,
            )


async def test_a_failed_request_is_prepared_anew(tmp_path: Path) -> None:
    """Its inbox is woken for that."""
    async with desk(tmp_path) as made:
        job = await made.failed()
        status, told = await made.post(f"/requests/{job.id}/retry")
        assert (status, told["request"], made.rung) == (200, job.request_id, [INBOX])
        assert (await made.office.request(job)).state is RequestState.RECEIVED
        assert (await made.post(f"/requests/{job.request_id}/retry"))[0] == 409


@pytest.mark.parametrize(
    ("refusal", "status"), [(StoreUnavailable(), 503), (InboxError("Another service has it."), 500)]
)
async def test_a_request_that_cannot_be_claimed_is_not_tried_again(
    tmp_path: Path, refusal: Exception, status: int
) -> None:
    """Another service has it, or the store is away: nothing has changed."""
    async with desk(tmp_path) as made:
        job, made.inbox.refusal = await made.failed(), refusal
        assert (await made.post(f"/requests/{job.request_id}/retry"))[0] == status
        assert (await made.office.request(job)).state is RequestState.FAILED


async def test_a_request_of_an_inbox_that_is_gone_cannot_be_tried_again(tmp_path: Path) -> None:
    """Its file could not be put away."""
    async with desk(tmp_path) as made:
        arrival = Arrival(inbox="folder:/gone", name="a.yaml", body=b"", identity="1:1")
        await made.office.ledger(lambda ledger: ledger.requests.receive(arrival, "rx"))
        await made.office.ledger(lambda ledger: ledger.requests.reject("rx", ERROR))
        await made.office.ledger(lambda ledger: ledger.requests.filed("rx"))
        status, told = await made.post("/requests/rx/retry")
        assert (status, "not configured" in told["error"]["message"]) == (409, True)


async def test_switches_are_switched(tmp_path: Path) -> None:
    """Pause and drain until resume."""
    async with desk(tmp_path) as made:
        for path, switch in (("/pause", "paused"), ("/drain", "draining")):
            status, told = await made.post(path)
            assert (status, bool(told["switches"][switch]), bool(told["message"])) == (200, True, True)
        status, told = await made.post("/resume")
        assert (status, told["switches"]) == (200, {"paused": None, "draining": None})
