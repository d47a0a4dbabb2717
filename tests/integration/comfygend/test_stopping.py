"""Stopped by a signal at every hand-over, and started again: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from comfygen.simulator import Simulator
from comfygend import failpoints, worker
from comfygend.failpoints import Point
from comfygend.service import serve
from tests import making
from tests.integration.comfygend.test_once import GUARD, configured, drop, once, rows


@pytest.fixture(autouse=True)
def _stop_instead_of_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """An armed failpoint asks the service to stop; and nobody waits as long as for a real server."""
    kill = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, number: kill(pid, signal.SIGTERM))
    monkeypatch.setattr(worker, "SECOND_LOOK_SECONDS", 0.05)


async def stopped_at(folder: Path, comfyui: str, point: str) -> None:
    """Serve until that point is reached, and then to the end of an orderly stop."""
    failpoints.arm(point)
    try:
        async with asyncio.timeout(GUARD):
            assert await serve(configured(folder, comfyui)) == 0
    finally:
        failpoints.arm(None)


@pytest.mark.parametrize("point", list(Point))
async def test_a_stop_loses_nothing_and_doubles_nothing(tmp_path: Path, point: Point) -> None:
    """One prompt, one output, one sidecar, one row, one report."""
    async with Simulator() as simulator:
        drop(tmp_path)
        await stopped_at(tmp_path, simulator.url, point)
        assert await once(tmp_path, simulator.url) == 0
        assert len(simulator.posted) == 1
    assert rows(tmp_path, "queue.db", "SELECT state, filed FROM requests") == [("done", 1)]
    ((key,),) = rows(tmp_path, "index.db", "SELECT key FROM generations")
    stored = sorted(path.name for path in (tmp_path / "outputs").iterdir() if path.is_file())
    assert stored == [key, f"{key}.json"]
    assert list((tmp_path / "state" / "spool").iterdir()) == []


@pytest.mark.parametrize("point", ["posted:2", "generated:2", "published:1"])
async def test_a_stop_in_the_middle_of_a_batch(tmp_path: Path, point: str) -> None:
    """What is in the spool is published before the end; the rest is done by the next service."""
    async with Simulator() as simulator:
        drop(tmp_path, body=making.TEXT + b"count: 4\n")
        await stopped_at(tmp_path, simulator.url, point)
        assert rows(tmp_path, "queue.db", "SELECT count(*) FROM jobs WHERE state = 'generated'") == [(0,)]
        assert await once(tmp_path, simulator.url) == 0
        assert len(simulator.posted) == 4
    assert sorted(rows(tmp_path, "index.db", "SELECT seed FROM generations")) == [(7,), (8,), (9,), (10,)]
