"""Disks that run full under the service: it stands still, says so, and goes on; nothing is lost or made twice."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.harness import REQUEST, house, until
from tests.acceptance.test_process import status, until_trouble, until_well, up


def _is_mounted(folder: Path, size: str) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    return os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of that size, mounted there."""
    folder.mkdir(parents=True)
    if not _is_mounted(folder, size):
        pytest.skip("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Use up all the space there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


async def test_the_disk_of_the_ledger(tmp_path: Path) -> None:
    """The request waits in the inbox; with some space it runs, once."""
    with small_disk(tmp_path / "state", "8m"):
        async with house(tmp_path) as (home, simulator):
            await home.start()
            await up(home)
            ballast = fill(tmp_path / "state")
            home.drop("lake.yaml", REQUEST + "#" * 250_000)
            assert "full" in await until_trouble(home, "ledger")
            assert "lake.yaml" in home.places.requests()
            assert simulator.posted == []
            ballast.unlink()
            await until(lambda: home.reports().get("lake.yaml"), "the result")
            assert len(simulator.posted) == 1
            assert await home.stop() == 0
            assert home.left() == []


async def test_a_disk_that_is_full_at_the_start(tmp_path: Path) -> None:
    """Exit code 3, and what to do; nobody is told to give up a ledger that is well."""
    with small_disk(tmp_path / "state", "8m"):
        async with house(tmp_path) as (home, simulator):
            assert await home.once() == 0
            home.drop("lake.yaml")
            ballast = fill(tmp_path / "state")
            assert await home.once() == 3
            assert "Free some space on its disk. Then start again" in home.log
            assert "restore" not in home.log
            assert "Traceback" not in home.log
            ballast.unlink()
            assert await home.once() == 0
            assert (len(simulator.posted), list(home.reports())) == (1, ["lake.yaml"])


async def test_the_disk_of_the_spool(tmp_path: Path) -> None:
    """The output stays with ComfyUI until there is space for it: one prompt."""
    with small_disk(tmp_path / "state" / "spool", "64k"):
        async with house(tmp_path) as (home, simulator):
            await home.start()
            await up(home)
            ballast = fill(tmp_path / "state" / "spool")
            home.drop("lake.yaml")
            assert "No space left" in await until_trouble(home, "spool disk")
            ballast.unlink()
            await until(lambda: home.reports().get("lake.yaml"), "the result")
            assert len(simulator.posted) == 1
            assert await home.stop() == 0


async def test_the_disk_of_the_inbox(tmp_path: Path) -> None:
    """Reports that cannot be written wait; the generation is published meanwhile."""
    with small_disk(tmp_path / "requests", "64k"):
        async with house(tmp_path) as (home, simulator):
            await home.start()
            await up(home)
            home.drop("lake.yaml")
            ballast = fill(tmp_path / "requests")
            assert "cannot be put away" in await until_trouble(home, f"filing folder:{tmp_path}/requests")
            await until(lambda: len(home.stored()) == 2, "output and sidecar")
            ballast.unlink()
            await until(lambda: home.reports().get("lake.yaml"), "the result")
            await until_well(home)
            assert len(simulator.posted) == 1
            assert await home.stop() == 0


async def test_the_disk_of_the_store(tmp_path: Path) -> None:
    """Outputs wait in the spool, and are published when there is space."""
    with small_disk(tmp_path / "outputs", "64k"):
        async with house(tmp_path) as (home, simulator):
            await home.start()
            await up(home)
            ballast = fill(tmp_path / "outputs")
            home.drop("lake.yaml")
            await until_trouble(home, "store")
            assert [
                key for key in home.stored() if key.endswith(".json")
            ] == []  # a watch's canary may have left a page
            assert home.reports() == {}
            ballast.unlink()
            await until(lambda: home.reports().get("lake.yaml"), "the result")
            await until_well(home)
            assert len(simulator.posted) == 1
            assert await home.stop() == 0


async def test_a_read_only_inbox(tmp_path: Path) -> None:
    """The service starts; the file stays where it is, and is taken when it can be moved."""
    requests = tmp_path / "requests"
    with small_disk(requests, "64k"):
        async with house(tmp_path) as (home, simulator):
            assert await home.once() == 0
            home.drop("lake.yaml")
            subprocess.run(["mount", "-o", "remount,ro", requests], check=True)
            await home.start()
            message = await until_trouble(home, f"folder:{requests}")
            assert message == "lake.yaml cannot be taken out of the inbox: Read-only file system."
            subprocess.run(["mount", "-o", "remount,rw", requests], check=True)
            await until(lambda: home.reports().get("lake.yaml"), "the result")
            assert len(simulator.posted) == 1
            assert await home.stop() == 0


async def test_a_disk_that_takes_no_more_writes(tmp_path: Path) -> None:
    """An I/O error and not a full disk: nothing new is taken, what is there can be read, and then it goes on."""
    async with house(tmp_path) as (home, simulator):
        service = await home.start()
        await up(home)
        home.drop("hill.yaml")
        await until(lambda: home.reports(), "the first result")
        largest = max(path.stat().st_size for path in (tmp_path / "state").iterdir())
        bounds = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (largest + 100_000, bounds[1]))
        home.drop("lake.yaml", REQUEST + "#" * 250_000)
        assert "disk I/O error" in await until_trouble(home, "ledger")
        assert (await status(home))["ledger"]["jobs"] == {}
        assert "lake.yaml" in home.places.requests()
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, bounds)
        await until(lambda: "lake.yaml" in home.reports(), "the result")
        await until_well(home)
        assert len(simulator.posted) == 2
        assert await home.stop() == 0
