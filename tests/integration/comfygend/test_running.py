"""The service's loops in this process: how they end it, and how the service manager watches them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from comfygen.config import Config, load_config
from comfygend.notify import Notify
from comfygend.parts import Parts, open_parts
from comfygend.service import ROLES, Loop, loops, run
from tests.unit.comfygend.managing import manager

GUARD = 60


def configured(folder: Path) -> Config:
    """Folders, and a ComfyUI that is not there."""
    flags = {
        "state_dir": str(folder / "state"),
        "inbox": [{"folder": str(folder / "requests")}],
        "store": {"folder": str(folder / "outputs")},
        "comfyui": [{"url": "http://127.0.0.1:9"}],
    }
    return load_config(None, {}, flags)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Parts]:
    async with asyncio.timeout(GUARD), open_parts(configured(folder)) as parts:
        yield parts


def loop(work: Callable[[], Awaitable[None]]) -> Loop:
    return Loop(name="of the test", role="inbox", run=work)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_loop_that_fails_stops_the_service(tmp_path: Path) -> None:
    """Never half alive: all other loops are cancelled, and the error comes out."""

    async def fail() -> None:
        raise ValueError("broken")

    async with opened(tmp_path) as parts:
        chosen = [*loops(parts, ROLES), loop(fail)]
        with pytest.raises(ExceptionGroup) as caught:
            await run(parts, chosen, None, Notify())
    assert [str(error) for error in caught.value.exceptions] == ["broken"]


async def test_a_loop_that_ends_by_itself_stops_the_service(tmp_path: Path) -> None:
    """None of them has an end."""

    async def end() -> None:
        return

    async with opened(tmp_path) as parts:
        with pytest.raises(ExceptionGroup) as caught:
            await run(parts, [loop(end), loop(for_ever)], None, Notify())
    assert [str(error) for error in caught.value.exceptions] == ["the loop 'of the test' ended by itself"]


async def test_every_loop_is_one_that_the_service_misses(tmp_path: Path) -> None:
    """Each of the loops that really run, ended early, ends the service."""
    async with opened(tmp_path) as parts:
        names = [each.name for each in loops(parts, ROLES)]
        for missing in names:
            chosen = [
                each if each.name != missing else Loop(name=missing, role="x", run=no) for each in loops(parts, ROLES)
            ]
            with pytest.raises(ExceptionGroup) as caught:
                await run(parts, chosen, None, Notify())
            assert [type(error) for error in caught.value.exceptions] == [ConnectionAbortedError]
    assert len(names) == len(set(names)) >= 10


async def no() -> None:
    raise ConnectionAbortedError


async def test_a_signal_asks_for_a_reload(tmp_path: Path) -> None:
    """SIGHUP, however often, and SIGTERM after it stops as ever."""
    reloads: list[int] = []

    def reload() -> None:
        reloads.append(1)
        os.kill(os.getpid(), signal.SIGHUP if len(reloads) < 3 else signal.SIGTERM)

    async def ask() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await for_ever()

    async with opened(tmp_path) as parts:
        await run(parts, [loop(ask)], None, Notify(), reload=reload)
    assert len(reloads) == 3


async def test_the_watchdog_is_fed_while_loop_and_ledger_turn(tmp_path: Path) -> None:
    """And not while the ledger's thread hangs, however well the loop turns."""
    hang, held = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        held.set()
        hang.wait(GUARD)

    async with opened(tmp_path) as parts:
        with manager(tmp_path / "notify") as heard:
            heard.setblocking(False)

            async def watch() -> None:
                assert await received(heard) == b"READY=1\nSTATUS=working"
                for _ in range(2):
                    assert await received(heard) == b"WATCHDOG=1"
                holding = asyncio.create_task(parts.ledger(hold))
                await asyncio.to_thread(held.wait, GUARD)
                for _ in range(50):  # whatever was on its way out of the ledger's thread
                    await asyncio.sleep(0)
                assert set(await drain(heard)) <= {b"WATCHDOG=1"}
                assert await drain(heard) == []
                hang.set()
                await holding
                assert await received(heard) == b"WATCHDOG=1"
                os.kill(os.getpid(), signal.SIGTERM)
                await for_ever()

            notify = Notify(address=str(tmp_path / "notify"), watchdog_seconds=0.01)
            await run(parts, [loop(watch)], None, notify)


async def received(channel: object) -> bytes:
    """The next thing that was said."""
    return await asyncio.get_running_loop().sock_recv(channel, 200)  # type: ignore[arg-type]


async def drain(channel: object) -> list[bytes]:
    """What is said until nothing comes for ten turns of the watchdog."""
    heard: list[bytes] = []
    while True:
        try:
            async with asyncio.timeout(0.1):
                heard.append(await received(channel))
        except TimeoutError:
            return heard


async def test_what_a_hand_writes_down_while_it_is_cancelled_is_waited_for(tmp_path: Path) -> None:
    """A stop is quiet only when those who were told to stop have stopped: what they wrote last is published, too."""
    ended: list[str] = []

    async def hand() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(50):
                await asyncio.sleep(0)
            ended.append("hand")

    async def publisher() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("publisher")

    async with opened(tmp_path) as parts:
        chosen = [Loop(name="a hand", role="worker", run=hand), Loop(name="p", role="publisher", run=publisher)]
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
        await run(parts, chosen, None, Notify())
    assert ended == ["hand", "publisher"]
