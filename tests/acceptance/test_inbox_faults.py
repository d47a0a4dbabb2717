"""What befalls an inbox folder: its disk goes away, bursts, files of others, no more watches; nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import making
from tests.acceptance.harness import GUARD, REQUEST, House, house, until
from tests.acceptance.test_full_disk import small_disk
from tests.acceptance.test_process import AS_ROOT, status, troubles, until_trouble, until_well, up

NOBODY, SOMEBODY = 65534, 54321  # the latter is used by nothing else on the machine
BURST = 2000
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
HOG = """
import ctypes, sys
libc = ctypes.CDLL(None)
while libc.inotify_init1(0) >= 0:
    pass
print("all taken", flush=True)
sys.stdin.read()
"""


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


async def inbox_of(home: House) -> dict[str, Any]:
    """What the service says about its inbox."""
    told: dict[str, Any] = (await status(home))["inboxes"][0]
    return told


async def until_inbox(home: House, state: str) -> None:
    """Wait until the inbox is in a state."""
    async with asyncio.timeout(GUARD):
        while not str((await inbox_of(home))["state"]).startswith(state):
            await asyncio.sleep(0.05)


def reported(home: House, name: str) -> bool:
    """Whether a request has its result."""
    return name in home.reports()


def give(home: House, user: int) -> None:
    """Let another user run the service in this house."""
    os.chown(home.folder, user, user)
    home.before = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")


async def test_an_inbox_whose_disk_goes_away(tmp_path: Path) -> None:
    """Nothing is written beneath it; when it is back, reports are written, and nothing has run twice."""
    disk, requests = tmp_path / "disk", tmp_path / "requests"
    requests.mkdir()
    with small_disk(disk, "1m"):
        mount("--bind", disk, requests)
        try:
            async with house(tmp_path, step_seconds=0.2) as (home, simulator):
                await home.start()
                home.drop("lake.yaml")
                await until(lambda: simulator.posted, "the prompt")
                subprocess.run(["umount", "--lazy", requests], check=True)
                await until_inbox(home, "absent")
                assert "is away" in await until_trouble(home, f"filing folder:{requests}")
                assert (len(home.stored()), list(requests.iterdir())) == (2, [])
                mount("--bind", disk, requests)
                await until(lambda: home.reports().get("lake.yaml"), "the report")
                home.drop("car.yaml")
                await until(lambda: home.reports().get("car.yaml"), "the next one")
                assert await home.stop() == 0
                assert await home.once() == 0
                assert (home.left(), len(simulator.posted)) == ([], 2)
        finally:
            subprocess.run(["umount", "--lazy", requests], check=False)


@pytest.mark.parametrize("how", ["another disk", "the same disk twice"])
async def test_places_that_nothing_can_be_renamed_into_stop_the_start(tmp_path: Path, how: str) -> None:
    """The request is not touched, nothing runs."""
    with small_disk(tmp_path / "requests", "64k"):
        disk, work = tmp_path / "disk", tmp_path / "requests" / "work"
        mine = disk if how == "another disk" else tmp_path / "requests" / "mine"
        for folder in (disk, mine, work):
            folder.mkdir(exist_ok=True)
        mount("--bind", mine, work)
        try:
            async with house(tmp_path) as (home, simulator):
                home.drop("lake.yaml")
                assert await home.once() == 3
                assert "Files cannot be renamed into" in home.log
                assert (home.left(), simulator.posted) == (["lake.yaml"], [])
        finally:
            subprocess.run(["umount", "--lazy", work], check=True)


@pytest.mark.skipif(not QUEUE.exists(), reason="only inotify has such a queue")
async def test_a_burst_larger_than_the_queue_of_events(tmp_path: Path) -> None:
    """While the service stands still, more happens than the kernel remembers: every file is answered all the same."""
    async with house(tmp_path) as (home, simulator):
        home.limits = "settle_seconds: 0.05, rescan_seconds: 600"
        home.__post_init__()
        process = await home.start()
        await up(home)
        await until_inbox(home, "watching")
        process.send_signal(signal.SIGSTOP)
        inbox = tmp_path / "requests"
        noises = [inbox / ".a.part", inbox / ".b.part"]
        for n in range(int(QUEUE.read_text()) // 2 + 1):  # two different events in turn, which are not merged
            noises[n % 2].write_bytes(b"x")
        for n in range(BURST):
            (inbox / f"{n:04}.yaml").write_bytes(b"workflow: nowhere\nprompt: a lake\n")
        home.drop("lake.yaml")
        process.send_signal(signal.SIGCONT)
        failed = inbox / "failed"
        await until(lambda: sum(1 for path in failed.iterdir() if path.suffix == ".yaml") == BURST, "every file")
        await until(lambda: (inbox / "done" / "lake.yaml.result.json").exists(), "the good one")
        assert await home.stop() == 0
        assert (home.left(), len(simulator.posted)) == ([], 1)
        assert len(home.reports("failed")) == BURST


@AS_ROOT
async def test_files_that_the_service_may_not_read_or_move(common: Path) -> None:
    """They stay and are named, each once in the log; others go on, and so do they when their rights are mended."""
    async with house(common) as (home, simulator):
        give(home, NOBODY)
        inbox = common / "requests"
        inbox.mkdir()
        inbox.chmod(0o1777)  # as /tmp: who does not own a file cannot rename it
        modes = {"secret.yaml": 0o600, "fixed.yaml": 0o444, "other.yaml": 0o444}
        for name, mode in modes.items():
            (inbox / name).write_text(REQUEST, encoding="utf-8")
            (inbox / name).chmod(mode)
        await home.start()
        hindered = "fixed.yaml cannot be taken out of the inbox: Operation not permitted."
        assert await until_trouble(home, f"folder:{inbox}") == hindered
        async with asyncio.timeout(GUARD):
            while (await inbox_of(home))["stuck"].keys() != modes.keys():
                await asyncio.sleep(0.05)
        for n in range(3):  # each of them makes the service look at everything once more
            home.drop(f"{n}.yaml")
            os.chown(inbox / f"{n}.yaml", NOBODY, NOBODY)
            await until(partial(reported, home, f"{n}.yaml"), "one that may be taken")
        assert (await inbox_of(home))["stuck"].keys() == modes.keys()
        assert (await troubles(home))[f"folder:{inbox}"]["message"] == hindered
        assert [home.log.count(told) for told in (hindered, "secret.yaml cannot be read: Permission denied.")] == [1, 1]
        assert home.left() == sorted(modes)
        assert home.rows("SELECT count(*) FROM requests", "queue.db") == [(3,)]
        for name in modes:
            os.chown(inbox / name, NOBODY, NOBODY)
            await until(partial(reported, home, name), "one whose rights were mended")
        await until_well(home)
        assert (await inbox_of(home))["stuck"] == {}
        assert len(simulator.posted) == 6
        assert await home.stop() == 0


@AS_ROOT
async def test_a_file_that_cannot_be_read_fails_a_single_run(common: Path) -> None:
    """It ends, and its exit code says that something was left behind."""
    async with house(common) as (home, _):
        give(home, NOBODY)
        assert await home.once() == 0
        home.drop("secret.yaml")
        (common / "requests" / "secret.yaml").chmod(0o600)
        assert await home.once() == 1
        assert home.left() == ["secret.yaml"]


@contextmanager
def no_watches_left(user: int) -> Iterator[None]:
    """Take every inotify instance that a user may have."""
    words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", sys.executable, "-c", HOG]
    hog = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert hog.stdin is not None
    assert hog.stdout is not None
    try:
        assert hog.stdout.readline() == b"all taken\n"
        yield
    finally:
        hog.stdin.close()
        hog.wait()
        hog.stdout.close()


@AS_ROOT
@pytest.mark.skipif(not INSTANCES.exists(), reason="only inotify has such limits")
async def test_a_system_without_watches_left(common: Path) -> None:
    """Inbox and store are listed instead, and the status says why; when there are watches again, they are used."""
    async with house(common) as (home, _):
        give(home, SOMEBODY)
        with no_watches_left(SOMEBODY):
            await home.start()
            await until_inbox(home, "polling: ")
            home.drop("lake.yaml")
            os.chown(common / "requests" / "lake.yaml", SOMEBODY, SOMEBODY)
            await until(lambda: home.reports().get("lake.yaml"), "the result")
            assert "Too many open files" in str((await inbox_of(home))["state"])
        await until_inbox(home, "watching")
        assert await home.stop() == 0
        assert home.left() == []
        assert len(home.rows()) == 1


async def test_one_name_again_and_again(tmp_path: Path) -> None:
    """As soon as a file is taken, another one may have its name: none replaces another, in the inbox or in done/."""
    async with house(tmp_path) as (home, simulator):
        await home.start()
        for n in range(10):
            home.drop("lake.yaml", REQUEST + f"seed: {n}\n")
            await until(lambda: not (tmp_path / "requests" / "lake.yaml").exists(), "its name to be free")
        await until(lambda: len(home.reports()) == 10, "all results")
        files = {name: body for name, body in home.places.requests().items() if name.endswith("lake.yaml")}
        assert sorted(files.values()) == sorted((REQUEST + f"seed: {n}\n").encode() for n in range(10))
        assert len(simulator.posted) == 10
        assert await home.stop() == 0


async def test_one_content_in_two_files(tmp_path: Path) -> None:
    """They are two requests, unless both name themselves alike."""
    async with house(tmp_path) as (home, simulator):
        for name in ("a.yaml", "b.yaml"):
            home.drop(name, REQUEST + "seed: 1\n")
            home.drop(f"named-{name}", REQUEST + "seed: 2\nid: the-lake\n")
        assert await home.once() == 0
        assert len(home.reports()) == 4
        assert sorted(home.rows("SELECT seed FROM generations")) == [(1,), (1,), (2,)]
        assert len(simulator.posted) == 3


async def test_a_file_deleted_while_it_is_worked_on(tmp_path: Path) -> None:
    """That takes nothing back: its result is written all the same. What takes it back is a `cancel`."""
    async with house(tmp_path, step_seconds=0.2) as (home, simulator):
        await home.start()
        home.drop("lake.yaml")
        await until(lambda: simulator.posted, "the prompt")
        (file,) = (tmp_path / "requests" / "work").iterdir()
        file.unlink()
        await until(lambda: home.reports().get("lake.yaml"), "the result")
        assert len(home.stored()) == 2
        assert await home.stop() == 0
        assert [name for name in home.places.requests() if name.endswith(".yaml")] == []


async def test_an_inbox_among_the_outputs(tmp_path: Path) -> None:
    """What people put there, and what is reported there, is never taken for an output: by events or by listings."""
    async with house(tmp_path) as (home, _):
        home.config.write_text(home.config.read_text(encoding="utf-8").replace("./requests", "./outputs/requests"))
        (tmp_path / "outputs" / "requests").mkdir(parents=True)
        (tmp_path / "requests").symlink_to(tmp_path / "outputs" / "requests")
        (tmp_path / "requests" / "car.png").write_bytes(making.picture())
        home.drop("bad.yaml", "prompt: a lake\n")
        for name in ("lake.yaml", "car.yaml"):
            home.drop(name)
            assert await home.once() == (1 if name == "lake.yaml" else 0)
        assert [key for (key,) in home.rows("SELECT key FROM problems")] == []
        assert len(home.rows()) == 2
