"""Killed at every hand-over and started again: each request ends exactly once, and is generated exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfygend.failpoints import Point
from tests.acceptance.harness import REQUEST, house

FOLDER: list[tuple[str, Point]] = [("folder", point) for point in Point]
BUCKET: list[tuple[str, Point]] = [("bucket", point) for point in Point if point is not Point.CLAIMED]


@pytest.mark.parametrize(("kind", "point"), FOLDER + BUCKET)
async def test_a_kill_loses_nothing_and_doubles_nothing(tmp_path: Path, kind: str, point: Point) -> None:
    """kill -9 at this point, restart: one prompt, one output, one sidecar, one row, one report."""
    async with house(tmp_path, kind) as (home, simulator):
        home.drop("lake.yaml")
        assert await home.once(COMFYGEN_FAILPOINT=point) == -9
        assert await home.once() == 0
        assert len(simulator.posted) == 1
        ((name, report),) = home.reports().items()
        (output,) = report["outputs"]
        assert name == "lake.yaml"
        assert home.stored() == [output["key"], output["key"] + ".json"]
        assert home.rows("SELECT key FROM generations") == [(output["key"],)]
        assert home.rows("SELECT state, filed FROM requests", "queue.db") == [("done", 1)]
        assert home.left() == []


@pytest.mark.parametrize("point", [Point.POSTED, Point.RAN, Point.OUTPUT_STORED])
async def test_a_kill_in_the_middle_of_a_batch(tmp_path: Path, point: Point) -> None:
    """The second of three jobs is cut off: every job has one prompt, every seed one output."""
    async with house(tmp_path) as (home, simulator):
        home.drop("lake.yaml", REQUEST + "seed: 10\ncount: 3\n")
        assert await home.once(COMFYGEN_FAILPOINT=f"{point}:2") == -9
        assert await home.once() == 0
        assert len(simulator.posted) == 3
        assert sorted(home.rows("SELECT seed FROM generations")) == [(10,), (11,), (12,)]
        assert len(home.stored()) == 6
        assert home.left() == []
