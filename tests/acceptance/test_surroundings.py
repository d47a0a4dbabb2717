"""What surrounds the service: the service manager, the zone of the machine, Datasette, people who edit and damage."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from comfygen.resources import built_in
from comfygen.simulator import Fault, Simulator
from comfygend.service import GRACE_SECONDS
from tests.acceptance.harness import COMFYGEND, GUARD, REQUEST, House, house, until
from tests.acceptance.test_process import COMFYGEN, hang_up, status, up
from tests.unit.comfygend.managing import manager

FED = b"WATCHDOG=1"
SILENCE = 1.0


async def said(channel: socket.socket) -> bytes:
    """The next thing that the service says of itself."""
    async with asyncio.timeout(GUARD):
        return await asyncio.get_running_loop().sock_recv(channel, 500)


async def until_silence(channel: socket.socket) -> list[bytes]:
    """What is said until nothing comes for ten turns of the watchdog."""
    heard: list[bytes] = []
    async with asyncio.timeout(GUARD):
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    heard.append(await said(channel))
            except TimeoutError:
                return heard


def fill(pipe: int) -> None:
    """Leave no room in a pipe, as somebody does who stopped reading."""
    writer = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        try:
            while True:
                os.write(writer, b"." * size)
        except BlockingIOError:
            continue
    os.close(writer)


async def test_a_service_that_hangs_does_not_feed_its_watchdog(tmp_path: Path) -> None:
    """Its log is not read any more, so that its loop hangs in a write: systemd would restart it. Read, it goes on."""
    async with house(tmp_path) as (home, _):
        reading, writing = os.pipe()
        with manager(tmp_path / "notify") as channel:
            channel.setblocking(False)
            environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": str(int(SILENCE * 2e5))}
            words = (COMFYGEND, "--config", home.config)
            home.running = await asyncio.create_subprocess_exec(*words, env=environ, stderr=writing)
            home.started.append(home.running)
            assert await said(channel) == b"READY=1\nSTATUS=working"
            for _ in range(3):
                assert await said(channel) == FED
            fill(writing)
            await hang_up(home)
            async with asyncio.timeout(GUARD):
                while not (await said(channel)).startswith(b"RELOADING=1"):
                    pass
            assert await until_silence(channel) == []
            assert home.running.returncode is None
            draining = asyncio.create_task(asyncio.to_thread(drain, reading))
            assert await said(channel) == b"READY=1\nSTATUS=working"
            assert await said(channel) == FED
            os.close(writing)
            assert await home.stop() == 0
            await draining
            assert b"STOPPING=1" in await until_silence(channel)


def drain(pipe: int) -> None:
    """Read a pipe to its end."""
    with os.fdopen(pipe, "rb") as file:
        while file.read1():
            pass


async def test_an_idle_service_waits_for_nobody(tmp_path: Path) -> None:
    """Its end takes no part of the time that it would give to uploads."""
    async with house(tmp_path) as (home, _):
        await home.start()
        await up(home)
        began = time.monotonic()
        assert await home.stop() == 0
        assert time.monotonic() - began < GRACE_SECONDS / 2


async def test_an_index_that_is_damaged_while_the_service_runs(tmp_path: Path) -> None:
    """The service ends with an error, never half alive; the next one makes the index anew, and nothing runs twice."""
    async with house(tmp_path) as (home, simulator):
        service = await home.start()
        home.drop("hill.yaml")
        await until(lambda: home.reports(), "the first result")
        await until(lambda: home.rows(), "its row")
        damage(tmp_path / "state" / "index.db")
        home.drop("lake.yaml")
        async with asyncio.timeout(GUARD):
            assert await service.wait() == 1
        assert "a part of the service failed" in home.log
        assert "is damaged" in home.log
        assert await home.once() == 0
        assert (len(simulator.posted), len(home.rows())) == (2, 2)
        assert home.reports().keys() == {"hill.yaml", "lake.yaml"}


def damage(path: Path) -> None:
    """Overwrite the head of every page but the first, with nothing of it left in the service's memory."""
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO problems VALUES ('x', '', '')")
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        for start in range(4096, path.stat().st_size, 4096):
            file.seek(start)
            file.write(b"\xa5" * 64)


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_is_edited_after_a_request_was_taken(tmp_path: Path, restarted: bool) -> None:
    """It runs as it was planned, whatever has become of its preset and its workflow by then."""
    presets, workflows = tmp_path / "presets.yaml", tmp_path / "workflows"
    async with house(tmp_path) as (home, simulator):
        workflows.mkdir()
        shutil.copy(built_in("workflows") / "flux-dev.json", workflows)
        with home.config.open("a", encoding="utf-8") as file:
            file.write("presets: ./presets.yaml\nworkflows: ./workflows\n")
        presets.write_text("presets: {mine: {steps: 3}}\n", encoding="utf-8")
        simulator.faults.add(Fault(kind="refuse_connections", times=10_000))
        await home.start()
        home.drop("lake.yaml", REQUEST.replace("steps: 2\n", "preset: mine\n"))
        await until(lambda: "accepted" in home.log, "the plan")
        presets.write_text("presets: {mine: {steps: 5}}\n", encoding="utf-8")
        (workflows / "flux-dev.json").write_text("{}", encoding="utf-8")
        if restarted:
            assert await home.stop() == 0
            await home.start()
        else:
            await hang_up(home)
            await until(lambda: "reloaded" in home.log, "the reload")
        simulator.faults.clear()
        await until(lambda: home.reports(), "the result")
        assert home.rows("SELECT steps FROM generations") == [(3,)]
        assert len(simulator.posted) == 1
        assert await home.stop() == 0


async def test_a_comfyui_that_is_away(tmp_path: Path) -> None:
    """Requests wait, over a restart too; /healthz is 503 and says why, until ComfyUI is there: one prompt each."""
    async with Simulator() as away:
        port = away.port
    async with house(tmp_path) as (home, _):
        home = House(tmp_path, away.url, home.places)
        await home.start()
        home.drop("lake.yaml")
        await until(lambda: "accepted" in home.log, "the plan")
        assert await health(home) == 503
        assert f"http://127.0.0.1:{port}" in (await status(home))["troubles"]
        assert await home.stop() == 0
        await home.start()
        await until(lambda: home.log.count("serving http") == 2, "the second start")
        home.drop("sea.yaml")
        assert await health(home) == 503
        assert home.reports("failed") == {}
        async with Simulator(port=port) as simulator:
            await until(lambda: len(home.reports()) == 2, "the results")
            assert len(simulator.posted) == 2
            assert await health(home, 200) == 200


async def health(home: House, wanted: int = 503) -> int:
    """The status of /healthz, as soon as it is the wanted one."""
    url = re.findall(r"serving (\S+)/status", home.log)[-1] + "/healthz"
    async with asyncio.timeout(GUARD), aiohttp.ClientSession() as session:
        while True:
            async with session.get(url) as answer:
                if answer.status == wanted:
                    return answer.status
            await asyncio.sleep(0.05)


# -- time zones -------------------------------------------------------------------------------------------------------

MOMENT = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?")


@pytest.mark.parametrize("zone", ["AAA-14", "BBB+11:30", "CET-1CEST,M3.5.0,M10.5.0/3", "CET-1CEST,J1/0,J365/23"])
async def test_all_times_are_utc_in_every_zone(tmp_path: Path, zone: str) -> None:
    """In sidecars, reports, rows and keys; an index made in another zone is the same."""
    began = datetime.now(UTC)
    async with house(tmp_path) as (home, _):
        home.drop("lake.yaml", REQUEST + "not_before: 2026-01-04 01:10:32\n")
        assert await home.once(TZ=zone) == 0
        rows, stored = home.rows(), home.places.objects()
        sidecars = [body.decode() for key, body in stored.items() if key.endswith(".json")]
        transitions = home.rows("SELECT at FROM transitions", "queue.db")
        told = json.dumps([sidecars, home.reports(), rows, transitions], default=str)
        moments = [moment for moment in MOMENT.findall(told) if not moment.startswith("2026-01-04")]
        assert len(moments) > 8
        for moment in moments:
            assert moment.endswith(("Z", "+00:00")), moment
            assert began.timestamp() - 1 <= datetime.fromisoformat(moment).timestamp() <= time.time() + 1
        for key in stored:
            at = datetime.strptime(key.rpartition("/")[2][:15], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
            assert began.timestamp() - 1 <= at.timestamp() <= time.time() + 1
        (tmp_path / "state" / "index.db").unlink()
        assert await home.once(TZ="UTC") == 0
        assert home.rows() == rows


# -- Datasette --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def history(home: House) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """`comfygen history`, and where it serves."""
    words = (COMFYGEN, "history", "--config", home.config, "--port", "0")
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(GUARD):
            while b"running on" not in (line := await process.stderr.readline()):
                assert line, "it has ended"
        yield line.decode().split("running on ")[1].split()[0], process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def keys(address: str) -> list[str]:
    """The generations that Datasette shows."""
    url = f"{address}/index/generations.json?_shape=array"
    rows = json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=GUARD).read()))
    return sorted(row["key"] for row in rows)


async def test_datasette_may_come_and_go(tmp_path: Path) -> None:
    """Killed, restarted, or older than the index: service and history need each other for nothing."""
    async with house(tmp_path) as (home, simulator):
        async with history(home) as (address, first):
            assert await keys(address) == []
            await home.start()
            home.drop("hill.yaml")
            await until(lambda: home.rows(), "its row")
            assert len(await keys(address)) == 1
            first.kill()
            await first.wait()
        home.drop("lake.yaml")
        await until(lambda: len(home.rows()) == 2, "its row")
        async with history(home) as (address, _):
            assert len(await keys(address)) == 2
            assert (await status(home))["troubles"] == {}
            assert await home.stop(signal.SIGKILL) == -9
            assert len(await keys(address)) == 2
            home.drop("sea.yaml")
            assert await home.once() == 0
            assert len(await keys(address)) == 3
        assert len(simulator.posted) == 3
