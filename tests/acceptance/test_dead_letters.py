"""Dead letters: what `failed/` says about a request that went wrong, and how it is made to run after all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfygen.simulator import Simulator
from tests.acceptance.harness import REQUEST, Buckets, House, house, until
from tests.acceptance.verbs import ask, reached, serve, tell

KINDS = pytest.mark.parametrize("kind", ["folder", "bucket"])
DRY = {"kind": "execution_error", "message": "the lake is dry"}


async def dead(home: House, name: str = "lake.yaml", code: str = "execution_failed") -> dict[str, Any]:
    """The report of a request that has failed, once all is put away."""
    await until(lambda: name in home.reports("failed") and home.left() == [], "the dead letter")
    report = home.reports("failed")[name]
    assert (report["status"], report["error"]["code"], name in home.places.requests()) == ("failed", code, False)
    error: dict[str, Any] = report["error"]
    return error


async def alive(home: House, name: str = "lake.yaml") -> dict[str, Any]:
    """The result of a request that ran after all, once nothing of it is left in `failed/`."""
    letters = {f"failed/{name}", f"failed/{name}.error.json"}
    await until(lambda: name in home.reports() and home.left() == [], "the result")
    await until(lambda: not letters & home.places.requests().keys(), "the dead letter to be gone")
    assert home.places.requests()[f"done/{name}"]
    report: dict[str, Any] = home.reports()[name]
    return report


def move_back(home: House, name: str, text: bytes | None = None) -> None:
    """As a person does with `mv`, or with the console of the bucket: copied, then deleted."""
    content = text or home.places.requests()[f"failed/{name}"]
    if isinstance(home.places, Buckets):
        home.drop(name, content)
        home.places.double.state.storage.delete(home.places.bucket, f"requests/failed/{name}")
        return
    file = home.folder / "requests" / "failed" / name
    if text is not None:
        file.write_bytes(text)
    file.rename(home.folder / "requests" / name)


def finished(simulator: Simulator) -> int:
    """How many prompts have run to their end."""
    return sum(simulator.journal.runs.values())


@KINDS
async def test_a_node_that_failed_is_told_whole(tmp_path: Path, kind: str) -> None:
    """Code, node, message, hint, attempts, and the end of the traceback; `show` tells the same."""
    async with house(tmp_path, kind, faults=[DRY]) as (home, _):
        await serve(home)
        home.drop("lake.yaml")
        error = await dead(home)
        assert (error["node_type"], error["exception_type"]) == ("KSampler", "RuntimeError")
        assert (error["attempts"], error["retryable"], bool(error["backend"])) == (1, False, True)
        assert f"node {error['node_id']} (KSampler) failed: RuntimeError: the lake is dry" in error["message"]
        assert f"Look at node {error['node_id']} of the workflow" in error["hint"]
        assert (0 < len(error["traceback"]) <= 20, "execution.py" in error["traceback"][-1]) == (True, True)
        report = home.reports("failed")["lake.yaml"]
        assert (report["jobs"][0]["status"], report["outputs"]) == ("failed", [])
        said = (await ask(home, "show", report["request"])).out
        assert [word for word in (error["message"], error["hint"]) if word not in said] == []


@KINDS
async def test_a_job_that_kills_comfyui_is_quarantined(tmp_path: Path, kind: str) -> None:
    """Two crashes are enough; others run on. `retry` runs it once more, by a person's word."""
    faults = [{"kind": "lose_queue", "match": "mountain lake", "times": 2}]
    async with house(tmp_path, kind, faults=faults) as (home, simulator):
        await serve(home)
        home.drop("lake.yaml")
        error = await dead(home, code="quarantined")
        assert ("died 2 times" in error["message"], error["attempts"]) == (True, 2)
        assert "comfygen retry" in error["hint"]
        assert len(simulator.posted) == 2
        said = (await ask(home, "show", home.reports("failed")["lake.yaml"]["request"])).out
        assert [word for word in ("failed: quarantined: ", error["hint"]) if word not in said] == []
        home.drop("car.yaml", REQUEST.replace("a mountain lake at dawn", "a red car"))
        await until(lambda: "car.yaml" in home.reports(), "the other one")
        await tell(home, "retry", home.reports("failed")["lake.yaml"]["request"])
        report = await alive(home)
        assert (report["jobs"][0]["attempts"], len(simulator.posted)) == (3, 4)


@KINDS
async def test_retry_runs_what_has_failed_and_nothing_else(tmp_path: Path, kind: str) -> None:
    """What was published of it stays and is not made again; the report moves from failed/ to done/."""
    async with house(tmp_path, kind, faults=[DRY | {"match": '"seed":8'}]) as (home, simulator):
        await serve(home)
        home.drop("lake.yaml", REQUEST + "seed: 7\ncount: 3\nid: calendar-may\n")
        await dead(home)
        before = home.places.objects()
        assert (len(before), finished(simulator)) == (4, 2)
        said = await ask(home, "retry", "calendar-may")
        assert (said.code, "(lake.yaml) is tried again" in said.out) == (0, True)
        report = await alive(home)
        assert ([job["seed"] for job in report["jobs"]], finished(simulator)) == ([7, 8, 9], 3)
        assert [job["attempts"] for job in report["jobs"]] == [1, 2, 1]
        now = home.places.objects()
        assert ({key: now[key] for key in before}, len(now)) == (before, 6)
        await until(lambda: len(home.rows("SELECT key FROM generations")) == 3, "the rows")
        refused = await ask(home, "retry", "calendar-may")
        assert (refused.code, "nothing of it has failed" in refused.err) == (1, True)


@KINDS
async def test_a_cancelled_request_may_be_retried(tmp_path: Path, kind: str) -> None:
    """By any of its names: here the id of its job."""
    async with house(tmp_path, kind, faults=[{"kind": "stall"}]) as (home, _):
        await serve(home)
        home.drop("lake.yaml")
        job = await reached(home, "lake.yaml", "submitted")
        await tell(home, "cancel", job)
        await until(lambda: "lake.yaml" in home.reports("failed") and home.left() == [], "the dead letter")
        await tell(home, "retry", job)
        assert (await alive(home))["jobs"][0]["job"] == job


@KINDS
async def test_a_file_that_is_moved_back_runs(tmp_path: Path, kind: str) -> None:
    """As it was: a file goes on with what has failed, while an object that was put again is a request of its own."""
    async with house(tmp_path, kind, faults=[DRY | {"match": '"seed":8'}]) as (home, simulator):
        await serve(home)
        home.drop("lake.yaml", REQUEST + "seed: 7\ncount: 2\n")
        await dead(home)
        request = home.reports("failed")["lake.yaml"]["request"]
        move_back(home, "lake.yaml")
        await until(lambda: "lake.yaml" in home.reports() and home.left() == [], "the result")
        report, same = home.reports()["lake.yaml"], kind == "folder"
        assert (report["request"] == request, len(report["outputs"])) == (same, 2)
        assert (finished(simulator), len(home.stored())) == ((2, 4) if same else (3, 6))
        if same:
            await alive(home)


@KINDS
async def test_a_mended_file_is_a_new_request(tmp_path: Path, kind: str) -> None:
    """The mistake has its line; mended and moved back, the file runs under a new id."""
    async with house(tmp_path, kind) as (home, simulator):
        await serve(home)
        home.drop("lake.yaml", REQUEST.replace("steps: 2", "stepz: 2"))
        error = await dead(home, code="request_invalid")
        (problem,) = error["problems"]
        assert (problem["file"], problem["line"], problem["field"]) == ("lake.yaml", 5, "stepz")
        assert "steps" in problem["hint"]
        request = home.reports("failed")["lake.yaml"]["request"]
        assert simulator.posted == []
        move_back(home, "lake.yaml", REQUEST.encode())
        await until(lambda: "lake.yaml" in home.reports() and home.left() == [], "the result")
        assert (home.reports()["lake.yaml"]["request"] != request, len(simulator.posted)) == (True, 1)
        assert home.reports("failed")["lake.yaml"]["request"] == request  # the old report stays
