"""Bell, board, failpoints, logs, lock, notify and the thread: the small parts of the service."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from comfygen.errors import LedgerError
from comfygend.bell import Bell
from comfygend.board import Board
from comfygend.failpoints import Point
from comfygend.lock import locked
from comfygend.logs import JournalFormatter, TerminalFormatter, escaped
from comfygend.notify import Notify
from comfygend.threads import OnThread


async def test_a_ring_between_looking_and_waiting_is_not_missed() -> None:
    """Rings are counted."""
    bell = Bell()
    seen = bell.rings
    bell.ring()
    assert await bell.after(seen, 30)


async def test_a_ring_wakes_everybody() -> None:
    """All that wait go on."""
    bell = Bell()
    waiting = [asyncio.create_task(bell.after(0, 30)) for _ in range(3)]
    await asyncio.sleep(0)
    bell.ring()
    assert await asyncio.gather(*waiting) == [True, True, True]


async def test_silence_ends_a_wait() -> None:
    """A wait is never for ever."""
    assert not await Bell().after(0, 0.01)


def test_a_trouble_is_logged_once_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Ten thousand equal errors are one line."""
    board = Board()
    with caplog.at_level(logging.INFO):
        for _ in range(10_000):
            board.trouble("store", "It is away.")
        board.well("store")
        board.well("store")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_the_board_tells_what_is_wrong_and_what_its_parts_say() -> None:
    """/status is the board as JSON."""
    board = Board(parts={"answer": lambda: 42})
    board.trouble("store", "It is away.", "Wait.")
    told = board.told()
    assert (told["ok"], told["answer"]) == (False, 42)


def test_an_armed_failpoint_kills_the_process_at_its_turn() -> None:
    """`name:2` dies when the point is reached for the second time."""
    code = (
        "from comfygend.failpoints import Point, arm, failpoint\n"
        "arm('claimed:2'); failpoint(Point.RECEIVED); failpoint(Point.CLAIMED); print('once', flush=True)\n"
        "failpoint(Point.CLAIMED); print('never', flush=True)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (-9, "once\n")


def test_a_failpoint_that_does_not_exist_is_an_error() -> None:
    """A misspelt failpoint would make a test pass that tests nothing."""
    code = "from comfygend.failpoints import arm; arm('clamed')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "'clamed' is not a valid Point" in ended.stderr


def test_points_have_their_value_as_name() -> None:
    """What is written into the environment is the point's value."""
    assert all(point.name.lower() == point.value for point in Point)


def test_the_lock_is_exclusive_and_names_its_holder(tmp_path: Path) -> None:
    """The second service says which process has the state directory."""
    with locked(tmp_path), pytest.raises(LedgerError, match=rf"pid {os.getpid()}"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


async def test_a_value_lives_and_dies_on_its_own_thread() -> None:
    """Opened, used and closed on one thread, which is not the loop's."""

    class Value:
        def __init__(self) -> None:
            self.threads = [threading.get_ident()]

        def close(self) -> None:
            self.threads.append(threading.get_ident())

    async with OnThread("test", Value) as on:
        await on(lambda value: value.threads.append(threading.get_ident()))
        value = await on(lambda value: value)
    assert len(value.threads) == 3
    assert set(value.threads) != {threading.get_ident()}
    assert len(set(value.threads)) == 1


async def test_a_cancelled_caller_leaves_no_work_half_done() -> None:
    """The work on the thread runs to its end."""

    class Value:
        done = False

        def close(self) -> None:
            assert self.done

    entered, go = threading.Event(), threading.Event()

    def work(value: Value) -> None:
        entered.set()
        go.wait(30)
        value.done = True

    async with OnThread("test", Value) as on:
        task = asyncio.create_task(on(work))
        await asyncio.to_thread(entered.wait, 30)
        task.cancel()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_every_line_for_the_journal_has_its_priority() -> None:
    """journald takes a priority per line, also within a traceback."""
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "one\ntwo", None, None)
    assert JournalFormatter("%(message)s").format(record) == "<3>one\n<3>    two"


def test_a_line_break_in_a_prompt_begins_no_record_of_its_own() -> None:
    """What looks like another record, in an error that quotes a prompt, is indented."""
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s", ("lake\n12:00:00 INFO job published",), None)
    assert TerminalFormatter("%(message)s").format(record) == "lake\n    12:00:00 INFO job published"


def test_control_characters_never_reach_a_terminal() -> None:
    """A prompt cannot move the cursor of who reads the log."""
    assert escaped("a\x1b[2Jb\0c\nd") == "a\\x1b[2Jb\\x00c\nd"


def test_the_service_manager_hears_what_is_said(tmp_path: Path) -> None:
    """A datagram to the socket that NOTIFY_SOCKET names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"}
        notify = Notify.from_environment(environ)
        notify.say("READY=1", "STATUS=working")
        assert manager.recv(100) == b"READY=1\nSTATUS=working"
    assert notify.watchdog_seconds == 2.0


def test_without_a_service_manager_nothing_is_said() -> None:
    """No socket, no error."""
    Notify.from_environment({}).say("READY=1")
