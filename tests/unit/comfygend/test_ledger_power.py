"""The ledger after a kill or a power cut at any moment: it opens, is whole, and has all that was acknowledged."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from comfygen.errors import LedgerError
from comfygend.ledger import Ledger
from comfygend.ledger.opening import open_ledger
from tests import making

PAGE, HEAD, FRAME = 4096, 32, 24
KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from comfygend.ledger import Ledger
left, connect = int(sys.argv[2]), sqlite3.connect

def connected(*words, **more):
    connection = connect(*words, **more)
    connection.set_trace_callback(count)
    return connection

def count(_):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

sqlite3.connect = connected
Ledger.open(Path(sys.argv[1])).close()
"""


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def contents(path: Path) -> list[str]:
    """Everything in a ledger, as it is after opening it; it is whole."""
    with closing(Ledger.open(path)):
        pass
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        assert reader.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert reader.execute("PRAGMA foreign_key_check").fetchall() == []
        return [line for line in reader.iterdump() if "_sqlite_migrations" not in line]


def left_behind(folder: Path, database: bytes, log: bytes) -> Path:
    """A ledger as a crash leaves it: the file, its log, and no shared memory."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "queue.db").write_bytes(database)
    (folder / "queue.db-wal").write_bytes(log)
    return folder / "queue.db"


# -- migrations -------------------------------------------------------------------------------------------------------


def statements(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """File and log at each statement of an opening: what is left if the process dies right there."""
    found: list[tuple[bytes, bytes]] = []

    def look(_: str) -> None:
        log = log_of(path)
        found.append((path.read_bytes(), log.read_bytes() if log.exists() else b""))

    with pytest.MonkeyPatch.context() as patch:
        connect = sqlite3.connect

        def connected(*words: Any, **more: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*words, **more)
            connection.set_trace_callback(look)
            return connection

        patch.setattr(sqlite3, "connect", connected)
        open_ledger(path).close()
    yield from found


def test_an_opening_that_dies_at_any_statement_is_done_by_the_next_one(tmp_path: Path) -> None:
    """Whichever of the first tables, indexes and marks are there already."""
    whole = contents(tmp_path / "whole.db")
    states = list(statements(tmp_path / "made.db"))
    assert len(states) > 30
    for database, log in states:
        assert contents(left_behind(tmp_path / "crashed", database, log)) == whole


def test_a_migration_that_dies_at_any_statement_keeps_all_rows(tmp_path: Path) -> None:
    """A ledger of the first schema that has requests in it."""
    path = tmp_path / "queue.db"
    with closing(Ledger.open(path)) as ledger:
        ledger.requests.receive(making.arrival(), "r1")
    whole = contents(path)
    with closing(sqlite3.connect(path)) as old, old:
        for index in ("requests_state", "jobs_state", "jobs_newest"):
            old.execute(f"DROP INDEX {index}")
        old.execute("CREATE INDEX requests_open ON requests (state) WHERE state IN ('received', 'accepted')")
        old.execute("CREATE INDEX jobs_open ON jobs (state) WHERE state IN ('queued', 'submitted', 'generated')")
        old.execute("DELETE FROM _sqlite_migrations WHERE name LIKE 'indexes_by_%'")
    states = list(statements(path))
    assert len({database + log for database, log in states}) > 1
    for database, log in states:
        assert sorted(contents(left_behind(tmp_path / "crashed", database, log))) == sorted(whole)


@pytest.mark.parametrize("statement", [12, 25, 40])
def test_a_real_kill_in_a_migration(tmp_path: Path, statement: int) -> None:
    """kill -9 of a process that opens a ledger for the first time."""
    path = tmp_path / "queue.db"
    killed = subprocess.run([sys.executable, "-c", KILLED, path, str(statement)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert contents(path) == contents(tmp_path / "whole.db")


# -- power cuts -------------------------------------------------------------------------------------------------------


def steps(ledger: Ledger) -> Iterator[Callable[[], object]]:
    """A request and its job on their way, one transaction after the other."""
    yield lambda: ledger.requests.receive(making.arrival(identity="1", body=bytes(9000)), "r1")
    yield lambda: ledger.requests.claimed("r1")
    yield lambda: ledger.requests.accept("r1", [making.new_job(), making.new_job(seed=8)])
    yield lambda: ledger.jobs.take("http://a:8188")
    yield lambda: ledger.requests.receive(making.arrival(identity="2"), "r2")
    yield lambda: ledger.requests.reject("r2", {"code": "request_invalid"})
    yield lambda: ledger.orders.cancel("r1", by="a person")


def acknowledged(path: Path) -> tuple[bytes, bytes, list[tuple[int, list[str]]]]:
    """A ledger's file and log, and what was in it each time that a transaction was acknowledged: (log size, rows)."""
    Ledger.open(path).close()
    with closing(Ledger.open(path)) as ledger:
        ledger.pages.all("PRAGMA wal_checkpoint(TRUNCATE)")
        database, states = path.read_bytes(), [(0, _rows(ledger))]
        for step in steps(ledger):
            step()
            states.append((log_of(path).stat().st_size, _rows(ledger)))
        assert path.read_bytes() == database  # so that all of it is in the log
        return database, log_of(path).read_bytes(), states


def _rows(ledger: Ledger) -> list[str]:
    return [line for line in ledger.pages.db.conn.iterdump() if "_sqlite_migrations" not in line]


def test_a_power_cut_keeps_all_that_was_acknowledged(tmp_path: Path) -> None:
    """The log is cut off after each of its frames, and within each: what was acknowledged by then, and no half of
    what was not."""
    database, log, states = acknowledged(tmp_path / "queue.db")
    assert all(before < after for (before, _), (after, _) in pairwise(states))
    ends = range(HEAD, len(log) + 1, FRAME + PAGE)
    assert (len(ends) > len(states), ends[-1]) == (True, len(log))
    for end in (0, *ends):
        expected = [rows for size, rows in states if size <= end][-1]
        for tail in (b"", log[end : end + 1000], bytes(FRAME + PAGE)):
            assert contents(left_behind(tmp_path / "crashed", database, log[:end] + tail)) == expected, end


def test_a_power_cut_in_a_checkpoint_loses_nothing(tmp_path: Path) -> None:
    """Some pages are written home, some are torn, some are not; the log still has all of them."""
    path = tmp_path / "queue.db"
    database, log, states = acknowledged(path)
    with closing(Ledger.open(path)) as ledger:
        ledger.checkpoint()
    home = path.read_bytes()
    changed = [n for n in range(0, len(home), PAGE) if home[n : n + PAGE] != database[n : n + PAGE]]
    assert len(changed) > 3
    for written in range(len(changed) + 1):
        torn = bytearray(database.ljust(len(home), b"\0"))
        for n in changed[:written]:
            torn[n : n + PAGE] = home[n : n + PAGE]
        for n in changed[written : written + 1]:
            torn[n : n + 512] = home[n : n + 512]
        assert contents(left_behind(tmp_path / "crashed", bytes(torn), log)) == states[-1][1]


def test_a_log_that_has_rotted_is_no_reason_to_believe_it(tmp_path: Path) -> None:
    """Frames with a wrong checksum, and all after them, are as if they had not been written."""
    database, log, states = acknowledged(tmp_path / "queue.db")
    for n, (size, rows) in enumerate(states[:-1]):
        rotten = bytearray(log)
        rotten[size + (HEAD if not size else 0) + FRAME + 100] ^= 0xFF
        assert contents(left_behind(tmp_path / "crashed", database, bytes(rotten))) == rows, n


def test_a_ledger_that_was_torn_itself_is_refused(tmp_path: Path) -> None:
    """Without its log nobody can mend it, so that nothing is made of it."""
    path = tmp_path / "queue.db"
    Ledger.open(path).close()
    body = path.read_bytes()
    for end in (100, PAGE, len(body) - PAGE):
        path.write_bytes(body[:end])
        with pytest.raises(LedgerError, match=r"queue\.db"):
            Ledger.open(path)
        assert path.read_bytes() == body[:end]
