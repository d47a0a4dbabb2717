"""The service as a process: how it stops, reloads, refuses to start, and is put back after a loss."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import COMFYGEND, GUARD, REQUEST, Buckets, House, house, until

COMFYGEN = Path(sys.executable).with_name("comfygen")
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can give up its rights"
)


async def up(home: House) -> None:
    """Wait until the service has started for the first time."""
    await until(lambda: "serving http" in home.log, "the service")


async def status(home: House) -> dict[str, Any]:
    """What the service says at /status, as soon as it answers."""
    async with asyncio.timeout(GUARD):
        while (told := await asyncio.to_thread(_asked, home)) is None:
            await asyncio.sleep(0.05)
    return told


def _asked(home: House) -> dict[str, Any] | None:
    addresses = re.findall(r"serving (\S+)", home.log)
    try:
        told: dict[str, Any] = json.load(urllib.request.urlopen(addresses[-1], timeout=GUARD))
    except (IndexError, OSError):
        return None
    return told


async def troubles(home: House) -> dict[str, Any]:
    """What it says is wrong."""
    told: dict[str, Any] = (await status(home))["troubles"]
    return told


async def until_trouble(home: House, part: str) -> str:
    """Wait for a trouble of a part, and give its message."""
    async with asyncio.timeout(GUARD):
        while part not in (told := await troubles(home)):
            await asyncio.sleep(0.05)
    return str(told[part]["message"])


async def until_well(home: House) -> None:
    """Wait until nothing is wrong."""
    async with asyncio.timeout(GUARD):
        while await troubles(home):
            await asyncio.sleep(0.05)


async def test_a_stop_hands_a_running_job_over(tmp_path: Path) -> None:
    """What runs on ComfyUI goes on there; the next start finds it, and does not send it again."""
    async with house(tmp_path, step_seconds=0.5) as (home, simulator):
        await home.start()
        home.drop("lake.yaml")
        await until(lambda: simulator.posted, "the prompt")
        assert await home.stop() == 0
        assert home.reports() == {}
        assert await home.once() == 0
        assert len(simulator.posted) == 1
        assert home.reports().keys() == {"lake.yaml"}


async def test_an_idle_service_stops_at_once(tmp_path: Path) -> None:
    """On SIGINT as on SIGTERM; and everything is closed: no write-ahead log is left."""
    async with house(tmp_path) as (home, _):
        await home.start()
        await up(home)
        assert await home.stop(signal.SIGINT) == 0
        assert not list((tmp_path / "state").glob("*-wal"))


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """The first one waits for an upload; the second does not, and even so nothing is lost."""
    async with house(tmp_path, "bucket") as (home, simulator):
        assert isinstance(home.places, Buckets)
        home.places.double.knobs.slow_upload(100)
        await home.start()
        home.drop("lake.yaml")
        await until(lambda: home.log.count("generated: 1 outputs"), "the output in the spool")
        assert home.running is not None
        home.running.send_signal(signal.SIGTERM)
        await until(lambda: "stopping" in home.log, "the stop")
        assert await home.stop() == -signal.SIGTERM
        home.places.double.knobs.healthy()
        assert await home.once() == 0
        assert len(simulator.posted) == 1
        assert home.reports().keys() == {"lake.yaml"}


async def test_a_reload_takes_limits_and_keeps_the_last_good(tmp_path: Path) -> None:
    """Broken edits are told and change nothing; requests go on; mended, all is well."""
    async with house(tmp_path) as (home, _):
        presets, config = tmp_path / "presets.yaml", home.config.read_text(encoding="utf-8")
        config += "presets: ./presets.yaml\n"
        home.config.write_text(config, encoding="utf-8")
        presets.write_text("presets: {mine: {steps: 3}}\n", encoding="utf-8")
        await home.start()
        await up(home)
        presets.write_text("presets: [", encoding="utf-8")
        home.config.write_text(config.replace("settle_seconds", "settle_secs"), encoding="utf-8")
        await hang_up(home)
        assert "settle_secs" in await until_trouble(home, "configuration")
        assert "presets" in await troubles(home)
        home.drop("lake.yaml", REQUEST.replace("steps: 2\n", "preset: mine\n"))
        await until(lambda: home.reports(), "the result")
        assert home.rows("SELECT steps FROM generations") == [(3,)]
        presets.write_text("presets: {mine: {steps: 5}}\n", encoding="utf-8")
        home.config.write_text(config, encoding="utf-8")
        await hang_up(home)
        await until_well(home)
        assert await home.stop() == 0


async def hang_up(home: House) -> None:
    """SIGHUP."""
    assert home.running is not None
    home.running.send_signal(signal.SIGHUP)


async def test_the_second_service_refuses_and_names_the_first(tmp_path: Path) -> None:
    """One per state directory; after a kill -9 the way is free."""
    async with house(tmp_path) as (home, _):
        first = await home.start()
        await up(home)
        assert await home.once() == 3
        assert f"Another service (pid {first.pid}) works with" in home.log
        home.running = first
        assert await home.stop(signal.SIGKILL) == -9
        assert await home.once() == 0


async def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    """Row for row, from the store, at the next start."""
    async with house(tmp_path) as (home, _):
        home.drop("lake.yaml", REQUEST + "count: 3\n")
        assert await home.once() == 0
        before = home.rows()
        with (tmp_path / "state" / "index.db").open("r+b") as file:
            file.write(os.urandom(8192))
        assert await home.once() == 0
        assert home.rows() == before
        assert len(before) == 3


@pytest.mark.parametrize("fault", ["damaged", "newer"])
async def test_a_ledger_that_cannot_be_trusted_stops_the_start(tmp_path: Path, fault: str) -> None:
    """Exit code 3, with instructions; it is not touched."""
    async with house(tmp_path) as (home, _):
        assert await home.once() == 0
        path = tmp_path / "state" / "queue.db"
        if fault == "damaged":
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(b"\xff" * 4096)
        else:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA user_version = 99")
        before = path.read_bytes()
        assert await home.once() == 3
        assert ("restore the latest backup" if fault == "damaged" else "newer ComfyGen (schema 99") in home.log
        assert path.read_bytes() == before


async def test_a_lost_ledger_is_put_back_from_a_backup(tmp_path: Path) -> None:
    """Taken while the service runs; what it held is done, with its own id, and nothing is generated twice."""
    async with house(tmp_path) as (home, simulator):
        await home.start()
        home.drop("lake.yaml", REQUEST + "id: lake-1\n")
        await until(lambda: home.reports(), "the result")
        copy = tmp_path / "copy.db"
        assert await comfygen("backup", "--config", home.config, "--to", copy) == 0
        (daily,) = (tmp_path / "state" / "backups").glob("queue-*.db")
        assert re.fullmatch(r"queue-\d{8}\.db", daily.name)
        assert await home.stop() == 0
        shutil.copy(copy, tmp_path / "state" / "queue.db")
        home.drop("again.yaml", REQUEST + "id: lake-1\n")
        assert await home.once() == 0
        assert len(simulator.posted) == 1
        assert "not generated again" in str(home.reports()["again.yaml"]["notes"])


async def comfygen(*words: str | Path) -> int:
    """Exit code of the command line."""
    process = await asyncio.create_subprocess_exec(COMFYGEN, *words)
    async with asyncio.timeout(GUARD):
        return await process.wait()


@AS_ROOT
async def test_a_state_dir_that_cannot_be_written_is_named(common: Path) -> None:
    """Exit code 78, with the path, for a user without rights there."""
    config = common / "comfygen.yaml"
    config.write_text("state_dir: ./state\n", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", COMFYGEND, "--config", config, "--once"),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(GUARD):
        _, errors = await process.communicate()
    assert process.returncode == 78
    assert f"state_dir {common}/state cannot be used: Permission denied." in errors.decode()
