"""The verbs that control a running service, as processes: what they say, and what becomes of the jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfygen.simulator import Simulator
from tests.acceptance.harness import REQUEST, House, house, until
from tests.acceptance.verbs import ask, reached, serve, tell

KINDS = pytest.mark.parametrize("kind", ["folder", "bucket"])
NEVER = "not_before: 2099-01-01T00:00:00Z\n"
STALL = {"kind": "stall", "match": "a red car"}


def request(prompt: str, more: str = "") -> str:
    """A small request."""
    return REQUEST.replace("a mountain lake at dawn", prompt) + more


CAR, LAKE, ROBOT = request("a red car"), request("a quiet lake"), request("a robot in a garden")


def prompts(simulator: Simulator) -> list[str]:
    """What was posted, in words and in order."""
    words = ("a red car", "a quiet lake", "a robot in a garden")
    texts = [json.dumps(posted.graph) for posted in simulator.posted]
    return [next((word for word in words if word in text), "another") for text in texts]


def ends(folder: Path) -> dict[str, str]:
    """How the runs of the simulated ComfyUI have ended, by prompt id."""
    lines = [json.loads(line) for line in (folder / "comfyui.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["prompt_id"]: line["status"] for line in lines if line["event"] == "ended"}


async def somebody_elses(simulator: Simulator, text: str) -> str:
    """A prompt that somebody posts from a browser; its id."""
    graph = json.loads(json.dumps(simulator.posted[0].graph).replace("a red car", text))
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/prompt", json={"prompt": graph}) as answer,
    ):
        told: dict[str, Any] = await answer.json()
    return str(told["prompt_id"])


# -- looking ----------------------------------------------------------------------------------------------------------


@KINDS
async def test_jobs_and_show_tell_of_every_state(tmp_path: Path, kind: str) -> None:
    """One failed, one runs, one waits: in lines and as JSON."""
    faults = [STALL, {"kind": "execution_error", "match": "a robot", "message": "the garden is dry"}]
    async with house(tmp_path, kind, faults=faults) as (home, _):
        await serve(home)
        home.drop("robot.yaml", ROBOT)
        robot = await reached(home, "robot.yaml", "failed")
        home.drop("car.yaml", CAR)
        car = await reached(home, "car.yaml", "submitted")
        home.drop("lake.yaml", LAKE + NEVER + "id: calendar-may\npriority: 7\n")
        lake = await reached(home, "lake.yaml", "queued")
        lines = [line.split("\t") for line in (await ask(home, "jobs")).out.splitlines()]
        assert [line[0] for line in lines] == [lake, car, robot]
        assert [line[2].split(" (")[0] for line in lines] == ["queued", "submitted", "failed"]
        assert [line[3:] for line in lines] == [
            ["0", "7", "lake.yaml", "a quiet lake"],
            ["1", "0", "car.yaml", "a red car"],
            ["1", "0", "robot.yaml", "a robot in a garden"],
        ]
        chosen = await tell(home, "jobs", "--state", "failed", "--state", "queued", "--limit", "1")
        assert [job["job"] for job in chosen["jobs"]] == [lake]
        await shown(home, lake, car, robot)


async def shown(home: House, lake: str, car: str, robot: str) -> None:
    """What `show` tells of a job that waits, one that runs, and one that has failed."""
    told = await tell(home, "show", "calendar-may")
    assert (told["state"], [job["job"] for job in told["jobs"]]) == ("accepted", [lake])
    said = (await ask(home, "show", lake)).out
    assert [word for word in (f"job {lake}: queued (of request", "priority: 7", "2099-01-01") if word not in said] == []
    told = await tell(home, "show", car)
    (attempt,) = told["attempts_made"]
    assert (told["state"], attempt["attempt"], bool(attempt["prompt_id"])) == ("submitted", 1, True)
    said = (await ask(home, "show", robot)).out
    words = (f"job {robot}: failed", "error: execution_failed:", "RuntimeError: the garden is dry", "execution.py")
    assert [word for word in words if word not in said] == []


async def test_what_nobody_knows_is_not_found(tmp_path: Path) -> None:
    """Exit code 3 and one line, from every verb that takes an ID; a state that is none is 4."""
    async with house(tmp_path) as (home, _):
        await serve(home)
        for verb in ("show", "cancel", "retry"):
            said = await ask(home, verb, "nobody")
            assert (said.code, said.out, said.err.count("\n"), "nobody" in said.err) == (3, "", 1, True), verb
        said = await ask(home, "jobs", "--state", "lost")
        assert (said.code, "queued" in said.err) == (4, True)


# -- cancel -----------------------------------------------------------------------------------------------------------


@KINDS
async def test_what_waits_is_cancelled_at_once(tmp_path: Path, kind: str) -> None:
    """It is never posted, and its report says who cancelled it."""
    async with house(tmp_path, kind) as (home, simulator):
        await serve(home)
        home.drop("lake.yaml", LAKE + NEVER + "id: calendar-may\n")
        job = await reached(home, "lake.yaml", "queued")
        said = await ask(home, "cancel", "calendar-may")
        assert (said.code, "Cancelled 1 job of request" in said.out, job in said.out) == (0, True, True)
        await until(lambda: home.reports("failed"), "the report")
        report = home.reports("failed")["lake.yaml"]
        assert (report["status"], report["error"]["code"]) == ("cancelled", "cancelled")
        await until(lambda: home.left() == [], "the last step")
        assert (report["outputs"], simulator.posted) == ([], [])
        again = await ask(home, "cancel", job)
        assert (again.code, "cancelled already" in again.out) == (0, True)


@KINDS
async def test_what_runs_is_stopped_and_nothing_else(tmp_path: Path, kind: str) -> None:
    """ComfyUI interrupts our prompt; the one that somebody else has posted behind it runs to its end."""
    async with house(tmp_path, kind, faults=[STALL], log=tmp_path / "comfyui.jsonl") as (home, simulator):
        await serve(home)
        home.drop("car.yaml", CAR)
        job = await reached(home, "car.yaml", "submitted")
        await until(lambda: simulator.queue.running, "the run")
        theirs = await somebody_elses(simulator, "a dancer")
        assert (await ask(home, "cancel", job)).code == 0
        await until(lambda: len(ends(tmp_path)) == 2, "the end of both")
        assert ends(tmp_path) == {simulator.posted[0].prompt_id: "interrupted", theirs: "success"}
        await until(lambda: home.reports("failed"), "the report")
        assert home.reports("failed")["car.yaml"]["status"] == "cancelled"
        await until(lambda: home.left() == [], "the last step")
        assert home.stored() == []


async def test_what_waits_in_comfyui_is_taken_back_and_nothing_else(tmp_path: Path) -> None:
    """What somebody else runs there meanwhile is not interrupted."""
    faults = [STALL, {"kind": "stall", "match": "a dancer"}]
    async with house(tmp_path, faults=faults, log=tmp_path / "comfyui.jsonl") as (home, simulator):
        await serve(home)
        home.drop("car.yaml", CAR)
        first = await reached(home, "car.yaml", "submitted")
        theirs = await somebody_elses(simulator, "a dancer")
        assert (await ask(home, "cancel", first)).code == 0
        await until(lambda: simulator.queue.running and simulator.queue.running[0].prompt_id == theirs, "their run")
        home.drop("lake.yaml", LAKE)
        ours = await reached(home, "lake.yaml", "submitted")
        assert len(simulator.queue.pending) == 1
        assert (await ask(home, "cancel", ours)).code == 0
        await until(lambda: not simulator.queue.pending, "our prompt to be gone")
        await until(lambda: "lake.yaml" in home.reports("failed"), "the report")
        assert simulator.queue.running[0].prompt_id == theirs
        assert ends(tmp_path) == {simulator.posted[0].prompt_id: "interrupted"}


@KINDS
async def test_what_has_ended_is_not_cancelled(tmp_path: Path, kind: str) -> None:
    """A clear refusal and exit code 1; what is published stays."""
    faults = [{"kind": "execution_error", "match": "a robot"}]
    async with house(tmp_path, kind, faults=faults) as (home, _):
        await serve(home)
        home.drop("lake.yaml", LAKE)
        home.drop("robot.yaml", ROBOT)
        lake, robot = await reached(home, "lake.yaml", "published"), await reached(home, "robot.yaml", "failed")
        await until(lambda: home.reports() and home.reports("failed"), "the reports")
        before = home.stored()
        for job, state, hint in ((lake, "published", "in the store"), (robot, "failed", "comfygen retry")):
            said = await ask(home, "cancel", job)
            assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
            assert [word for word in (job, f"already done: it is {state}", hint) if word not in said.err] == []
        assert (home.stored(), home.reports()["lake.yaml"]["status"]) == (before, "done")


@KINDS
async def test_a_dropped_file_cancels(tmp_path: Path, kind: str) -> None:
    """Its result says what was cancelled; an ID that nobody knows is an error."""
    async with house(tmp_path, kind) as (home, simulator):
        await serve(home)
        home.drop("lake.yaml", LAKE + NEVER + "id: calendar-may\n")
        job = await reached(home, "lake.yaml", "queued")
        home.drop("stop.yaml", "cancel: calendar-may\n")
        home.drop("typo.yaml", "cancel: calendar-june\n")
        await until(lambda: len(home.reports("failed")) == 2 and home.reports(), "the reports")
        (note,) = home.reports()["stop.yaml"]["notes"]
        assert ("Cancelled 1 job" in note, job in note) == (True, True)
        error = home.reports("failed")["lake.yaml"]["error"]
        assert (error["code"], "stop.yaml" in error["message"]) == ("cancelled", True)
        error = home.reports("failed")["typo.yaml"]["error"]
        assert (error["code"], "calendar-june" in error["message"]) == ("not_found", True)
        await until(lambda: home.left() == [], "the last step")
        assert simulator.posted == []


# -- pause, drain, resume ---------------------------------------------------------------------------------------------


@KINDS
async def test_a_pause_lasts_over_a_restart(tmp_path: Path, kind: str) -> None:
    """Requests are taken, nothing is posted, until `resume`."""
    async with house(tmp_path, kind) as (home, simulator):
        await serve(home)
        said = await ask(home, "pause")
        assert (said.code, "Paused" in said.out) == (0, True)
        home.drop("lake.yaml", LAKE)
        await reached(home, "lake.yaml", "queued")
        assert await home.stop() == 0
        await serve(home)
        home.drop("robot.yaml", ROBOT)
        await reached(home, "robot.yaml", "queued")
        said = await ask(home, "jobs")
        assert ("paused since" in said.err, "comfygen resume" in said.err) == (True, True)
        assert simulator.posted == []
        assert (await ask(home, "resume")).code == 0
        await until(lambda: len(home.reports()) == 2, "the results")
        assert prompts(simulator) == ["a quiet lake", "a robot in a garden"]


async def test_a_pause_lets_go_on_what_runs(tmp_path: Path) -> None:
    """It is published; what waits is not posted."""
    async with house(tmp_path, faults=[{"kind": "slow", "seconds": 1.5, "match": "a red car"}]) as (home, simulator):
        await serve(home)
        home.drop("car.yaml", CAR)
        await reached(home, "car.yaml", "submitted")
        await tell(home, "pause")
        home.drop("lake.yaml", LAKE)
        await reached(home, "lake.yaml", "queued")
        await until(lambda: home.reports(), "the result")
        (job,) = (await tell(home, "jobs", "--state", "queued"))["jobs"]
        assert (job["name"], job["attempts"], prompts(simulator)) == ("lake.yaml", 0, ["a red car"])


@KINDS
async def test_a_drain_finishes_what_is_accepted(tmp_path: Path, kind: str) -> None:
    """What is dropped meanwhile waits where it is, also over restarts, until `resume`."""
    faults = [{"kind": "slow", "seconds": 1.0, "match": "a red car"}]
    async with house(tmp_path, kind, faults=faults) as (home, simulator):
        await serve(home)
        home.drop("car.yaml", CAR + "count: 3\n")
        await until(lambda: simulator.queue.running, "the run")
        said = await ask(home, "drain")
        assert (said.code, "Draining" in said.out) == (0, True)
        home.drop("lake.yaml", LAKE)
        await until(lambda: home.reports(), "the result")
        assert len(home.reports()["car.yaml"]["outputs"]) == 3
        assert await home.stop() == 0
        assert await home.once() == 0
        assert (home.left(), prompts(simulator)) == (["lake.yaml"], ["a red car"] * 3)
        await serve(home)
        assert "draining since" in (await ask(home, "jobs")).err
        await tell(home, "resume")
        await until(lambda: "lake.yaml" in home.reports() and home.left() == [], "the result")


async def test_priority_and_not_before_decide_the_order(tmp_path: Path) -> None:
    """Not the order of dropping: higher runs earlier, and nothing before its time."""
    async with house(tmp_path) as (home, simulator):
        await serve(home)
        await tell(home, "pause")
        time = datetime.now(UTC) + timedelta(seconds=2.5)
        home.drop("robot.yaml", ROBOT + f"priority: 1000\nnot_before: {time.isoformat()}\n")
        await reached(home, "robot.yaml", "queued")
        home.drop("car.yaml", CAR + "priority: -1\n")
        await reached(home, "car.yaml", "queued")
        home.drop("lake.yaml", LAKE + "priority: 5\n")
        await reached(home, "lake.yaml", "queued")
        await tell(home, "resume")
        await until(lambda: len(home.reports()) == 3, "the results")
        assert prompts(simulator)[-3:] == ["a quiet lake", "a red car", "a robot in a garden"]
        assert max(posted.received_at for posted in simulator.posted) >= time.timestamp()
