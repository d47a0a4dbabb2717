"""ComfyUI dies at each stage of a job, the store is away, or both: what becomes of it, and what the GPU has to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import Buckets, Folders, House, until
from tests.minio_double import MinioDouble
from tests.torture.processes import ComfyUI

FOREVER = 10**6


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A job is held where `fault` holds it, and ComfyUI dies as soon as `sign` is seen. `runs`: the GPU's work."""

    fault: dict[str, Any]
    sign: str
    runs: int


STAGES = {
    "asking": Stage(
        fault={"kind": "refuse_connections", "match": "/object_info", "times": FOREVER},
        sign="503 to GET /object_info",
        runs=1,
    ),
    "posting": Stage(
        fault={"kind": "refuse_connections", "match": "/prompt", "times": FOREVER}, sign="503 to POST /prompt", runs=1
    ),
    "queued": Stage(fault={"kind": "dead_worker"}, sign="accepted", runs=1),
    "running": Stage(fault={"kind": "slow", "seconds": 600}, sign="started", runs=1),
    "finished": Stage(fault={"kind": "late_history", "seconds": 600}, sign="ended", runs=2),
    "fetching": Stage(
        fault={"kind": "refuse_connections", "match": "/view", "times": FOREVER}, sign="503 to GET /view", runs=2
    ),
}


@dataclass
class Apart(Buckets):
    """Requests in a folder, outputs in a bucket: one goes on when the other is away."""

    yard: Folders = field(default_factory=lambda: Folders(Path()))

    @property
    def config(self) -> str:
        return super().config.replace("prefix: requests/", "folder: ./requests")

    def drop(self, name: str, content: bytes) -> None:
        self.yard.drop(name, content)

    def requests(self) -> dict[str, bytes]:
        return self.yard.requests()


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[tuple[House, ComfyUI, MinioDouble]]:
    """A ComfyUI in a process of its own that comes back after a kill, and a service that runs."""
    async with AsyncExitStack() as stack:
        comfyui = ComfyUI(folder)
        stack.push_async_callback(comfyui.stop)
        keeper = asyncio.create_task(comfyui.keep())
        stack.callback(keeper.cancel)
        await comfyui.started()
        double = await stack.enter_async_context(MinioDouble())
        await double.knobs.make_bucket("comfy-gen")
        home = House(folder, comfyui.url, Apart(double, yard=Folders(folder)))
        stack.push_async_callback(home.stop)
        await home.start()
        await until(lambda: "serving http" in home.log, "the service")
        yield home, comfyui, double


def has_come(sign: str, home: House, comfyui: ComfyUI) -> bool:
    """Whether the journal of ComfyUI, or the service's own log, has this to tell."""
    return f'"event": "{sign}"' in comfyui.log.read_text(encoding="utf-8") or sign in home.log


def runs(comfyui: ComfyUI) -> int:
    """How often the GPU has done its work."""
    lines = [json.loads(line) for line in comfyui.log.read_text(encoding="utf-8").splitlines()]
    return sum(line.get("status") == "success" and line["sampler_runs"] > 0 for line in lines)


async def published(home: House) -> None:
    """One report, one output with its sidecar, one row, nothing left."""
    await until(home.reports, "the report")
    ((_, report),) = home.reports().items()
    (output,) = report["outputs"]
    await until(lambda: home.rows("SELECT key FROM generations") == [(output["key"],)], "the row")
    assert home.stored() == [output["key"], output["key"] + ".json"]
    await until(lambda: home.left() == [], "the last step")


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("store", ["there", "away"])
async def test_comfyui_dies_at_each_stage(tmp_path: Path, name: str, store: str) -> None:
    """Only what died with it is done again: nothing, while the job waited; the whole run, if nobody had the output."""
    stage = STAGES[name]
    async with site(tmp_path) as (home, comfyui, double):
        if store == "away":
            await double.knobs.refuse()
        await comfyui.ask("POST", "faults", stage.fault)
        home.drop("lake.yaml")
        await until(lambda: has_come(stage.sign, home, comfyui), stage.sign)
        comfyui.kill(away=0)
        await until(lambda: "generated: 1 outputs" in home.log, "the output in the spool")
        assert home.reports() == {} or store == "there"
        await double.knobs.accept()
        await published(home)
        assert runs(comfyui) == stage.runs


async def test_the_store_is_away_for_the_whole_time(tmp_path: Path) -> None:
    """The GPU works once, the output waits, whatever dies meanwhile."""
    async with site(tmp_path) as (home, comfyui, double):
        await double.knobs.refuse()
        home.drop("lake.yaml")
        await until(lambda: "generated: 1 outputs" in home.log, "the output in the spool")
        comfyui.kill(away=0)
        assert home.running is not None
        home.running.kill()
        await home.running.wait()
        await home.start()
        await until(lambda: home.log.count("serving http") == 2, "the second start")
        await double.knobs.accept()
        await published(home)
        assert runs(comfyui) == 1
