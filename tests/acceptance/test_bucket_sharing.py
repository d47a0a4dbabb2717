"""Two services on one prefix: every request is generated once, whoever is killed when."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

from tests.acceptance.harness import Buckets, House, house, until

REQUESTS = 200
SMALL = "workflow: flux-dev\nprompt: robot number {}\nwidth: 64\nheight: 64\nsteps: 1\n"
LIMITS = "rescan_seconds: 1, claim_lease_seconds: 2"


def more_reports(home: House, than: int) -> bool:
    return len(home.reports()) > than


def nothing_left(home: House) -> bool:
    return home.left() == []


def all_rows(home: House) -> bool:
    return len(home.rows("SELECT key FROM generations")) == REQUESTS


async def test_two_services_share_a_prefix(tmp_path: Path) -> None:
    """200 requests, one service killed twice and restarted: 200 generations, none twice, nothing left behind."""
    async with house(tmp_path / "first", "bucket", step_seconds=0.01) as (first, simulator):
        first = House(tmp_path / "first", simulator.url, first.places, limits=LIMITS)
        second = House(tmp_path / "second", simulator.url, first.places, limits=LIMITS)
        for n in range(REQUESTS):
            first.drop(f"robot-{n:03}.yaml", SMALL.format(n))
        await first.start()
        await second.start()
        try:
            for share in (20, 90):
                await until(partial(more_reports, first, share), "some results")
                assert await first.stop(signal.SIGKILL) == -9
                await first.start()
            await until(lambda: len(first.reports()) >= REQUESTS, "all results")
            bucket = first.places
            assert isinstance(bucket, Buckets)
            await until(lambda: not bucket.claims(), "the claims to go")
            for home in (first, second):
                await until(partial(all_rows, home), "the rows")
                await until(partial(nothing_left, home), "the spool to empty")
        finally:
            assert await second.stop() == 0
        assert await first.stop() == 0
        prompts = [graph["2"]["inputs"]["text"] for graph in (posted.graph for posted in simulator.posted)]
        assert (len(prompts), len(set(prompts))) == (REQUESTS, REQUESTS)
        assert (len(first.reports()), first.reports("failed")) == (REQUESTS, {})
        assert len(first.stored()) == 2 * REQUESTS
        assert first.left() == second.left() == []


async def test_a_silent_service_is_taken_over(tmp_path: Path) -> None:
    """One service dies with a request in hand, for good: the other adopts its prompt and its outputs."""
    async with house(tmp_path / "first", "bucket") as (first, simulator):
        first = House(tmp_path / "first", simulator.url, first.places, limits=LIMITS)
        second = House(tmp_path / "second", simulator.url, first.places, limits=LIMITS)
        first.drop("robot.yaml", SMALL.format(1) + "count: 3\n")
        assert await first.once(COMFYGEN_FAILPOINT="published") == -9
        assert await second.once() == 0
        assert len(simulator.posted) == 3
        assert len(first.stored()) == 6
        assert len(second.rows("SELECT key FROM generations")) == 3
        assert len(second.reports()["robot.yaml"]["outputs"]) == 3
        assert await first.once() == 0
        assert first.rows("SELECT state FROM requests", "queue.db") == [("cancelled",)]
        assert len(simulator.posted) == 3
