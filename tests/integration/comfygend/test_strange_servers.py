"""What a ComfyUI or a store says that makes no sense: the job fails, or waits, and the service goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from comfygen.comfyui_client import OutputRef
from comfygen.comfyui_client.shapes import as_number
from comfygen.errors import OutputMissing
from comfygen.simulator import Fault, Simulator
from comfygend import backends as backends_module
from comfygend import worker as worker_module
from comfygend.heritage import Heritage
from comfygend.ledger import JobState
from tests.integration.comfygend.jobs import office
from tests.integration.comfygend.memory import MemoryStore
from tests.integration.comfygend.test_heritage import Estate
from tests.integration.comfygend.working import small, soon, workshop


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its servers."""
    for name in ("IDLE_SECONDS", "SECOND_LOOK_SECONDS", "FIRST_DELAY", "LONGEST_DELAY"):
        monkeypatch.setattr(worker_module, name, 0.02)


@pytest.mark.parametrize("name", ["lake.\0png", "lake." + "x" * 300, "lake.p\nng", "lake.ü"])
async def test_an_output_with_a_strange_ending_is_kept_under_a_plain_one(tmp_path: Path, name: str) -> None:
    """A node has named it so: that is no reason to wait for the spool's disk, nor to end."""
    async with TestServer(views()) as server, workshop(tmp_path, str(server.make_url("/"))) as made:
        (job,) = await made.office.accepted(small())
        (output,) = await made.office.spool.collect(made.workers[0].backend.client, job, [named(name)])
        assert (output.path, output.bytes) == (f"{job.id}/1.bin", 7)


async def test_an_output_with_an_impossible_name_is_missing(tmp_path: Path) -> None:
    """Half a surrogate pair cannot be asked for."""
    async with TestServer(views()) as server, workshop(tmp_path, str(server.make_url("/"))) as made:
        (job,) = await made.office.accepted(small())
        with pytest.raises(OutputMissing):
            await made.office.spool.collect(made.workers[0].backend.client, job, [named("\ud800.png")])


def named(name: str) -> OutputRef:
    return OutputRef(node="9", key="images", index=0, filename=name)


def views() -> web.Application:
    """A server that has every file."""

    async def view(request: web.Request) -> web.Response:
        return web.Response(body=b"content")

    app = web.Application()
    app.router.add_get("/view", view)
    return app


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes": "many"},
        {"bytes": 10**30},
        {"bytes": True},
        {"width": [8]},
        {"width": -(10**30)},
        {"fps": {"a": 1}},
        {"fps": 10**400},
        {"media_type": None},
        {"sha256": 7},
        {"batch": {"image": 1, "images": 10**12}},
    ],
)
async def test_a_sidecar_that_tells_nonsense_is_no_heritage(tmp_path: Path, changes: dict[str, object]) -> None:
    """Somebody edited it: the job is generated."""
    async with office(tmp_path) as made:
        estate = Estate(office=made, store=MemoryStore())
        job = await estate.published(b"one")
        estate.edit(**changes)
        assert await Heritage(store=estate.store).of(job) == []


async def test_a_sidecar_nested_without_end_is_no_heritage(tmp_path: Path) -> None:
    """It is no JSON that anybody reads."""
    async with office(tmp_path) as made:
        estate = Estate(office=made, store=MemoryStore())
        job = await estate.published(b"one")
        estate.store.fill({estate.sidecars()[0]: b"[" * 200_000})
        assert await Heritage(store=estate.store).of(job) == []


def test_a_number_beyond_all_floats_is_none() -> None:
    """JSON has no limit."""
    assert as_number(json.loads("1" + "0" * 400)) is None


async def test_a_server_that_answers_and_cannot_work_is_not_asked_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list of nodes is broken: the longer that lasts, the rarer a job is tried there."""
    monkeypatch.setattr(backends_module, "FIRST_WAIT", 0.01)
    async with Simulator() as simulator, workshop(tmp_path, simulator.url) as made:
        simulator.faults.add(Fault(kind="refuse_connections", match="/object_info", times=100_000))
        (job,) = await made.office.accepted(small())
        async with made.working():
            made.office.bell.ring()
            await soon(lambda: made.office.board.troubles)
            await soon(lambda: made.workers[0].backend.failures >= 5)
            assert (await made.office.job(job.id)).attempt <= 6
            simulator.faults.clear()
            (job,) = await made.wait(job)
        assert (job.state, job.failures) == (JobState.GENERATED, 0)
