"""The store is away: generation goes on up to the bound of the spool, and everything is published afterwards."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.acceptance.harness import REQUEST, Buckets, House, house, until
from tests.minio_double import MinioDouble

JOBS = 20


def double_of(home: House) -> MinioDouble:
    assert isinstance(home.places, Buckets)
    return home.places.double


async def accepted(home: House, jobs: int = JOBS) -> None:
    """So many requests are accepted by a running service."""
    for n in range(jobs):
        home.drop(f"lake-{n}.yaml", REQUEST + f"seed: {n}\n")
    await home.start()
    await until(lambda: home.log.count("accepted") >= jobs, "acceptance")


async def ended(home: House, jobs: int = JOBS) -> None:
    """All of them have ended, and lie in store and index."""
    await until(lambda: len(home.reports()) == jobs, "the results")
    await until(lambda: home.rows("SELECT count(*) FROM generations") == [(jobs,)], "the rows")
    await until(lambda: home.left() == [], "the request objects to move")
    assert await home.stop() == 0


async def test_an_outage_with_a_kill_in_it(tmp_path: Path) -> None:
    """503, then refused connections, then a kill: no job runs twice, every job is published."""
    async with house(tmp_path, "bucket", step_seconds=0.02) as (home, simulator):
        double = double_of(home)
        await accepted(home)
        double.knobs.fail(503)
        await until(lambda: len(simulator.posted) == JOBS, "all prompts")
        await double.knobs.refuse()
        assert await home.stop(signal.SIGKILL) == -9
        await home.start()
        await until(lambda: home.log.count("serving") == 2, "the second start")
        double.knobs.mend()
        await double.knobs.accept()
        await ended(home)
        assert len(simulator.posted) == JOBS
        assert len(home.stored()) == 2 * JOBS


async def test_a_full_spool_pauses_generation(tmp_path: Path) -> None:
    """The bound is reached while the store is away; generation pauses, says so, and goes on by itself."""
    async with house(tmp_path, "bucket", step_seconds=0.02) as (home, simulator):
        home = House(tmp_path, simulator.url, home.places, limits="rescan_seconds: 1, spool_bytes: 1")
        double = double_of(home)
        double.knobs.fail(503, "PutObject", "2*")
        await accepted(home)
        await until(lambda: "The spool is full" in home.log, "the pause")
        assert len(simulator.posted) < JOBS
        double.knobs.mend()
        await ended(home)
        assert len(simulator.posted) == JOBS
