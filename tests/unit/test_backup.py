"""Backup: a whole, checked copy, or none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from comfygen.backup import BackupFailed, back_up
from comfygend.ledger import Ledger
from tests import making


def receive(path: Path, *names: str) -> None:
    """A ledger with these requests."""
    with closing(Ledger.open(path)) as ledger:
        for name in names:
            ledger.requests.receive(making.arrival(identity=name), name)


def names(path: Path) -> list[str]:
    """The requests of a ledger that can be put in the place of the lost one."""
    with closing(Ledger.open(path)) as ledger:
        return [row.id for row in ledger.requests.unclaimed("folder:/inbox")]


def test_a_copy_has_everything_and_can_take_its_place(tmp_path: Path) -> None:
    """The same requests, and the same owner and schema, so that the service opens it."""
    receive(tmp_path / "queue.db", "r1", "r2")
    size = back_up(tmp_path / "queue.db", tmp_path / "backups" / "copy.db")
    assert size == (tmp_path / "backups" / "copy.db").stat().st_size
    assert names(tmp_path / "backups" / "copy.db") == names(tmp_path / "queue.db") == ["r1", "r2"]


def test_whoever_writes_goes_on_meanwhile(tmp_path: Path) -> None:
    """What is committed is in it, although it is in the write-ahead log only; an open transaction is not."""
    with closing(Ledger.open(tmp_path / "queue.db")) as ledger:
        ledger.requests.receive(making.arrival(identity="r1"), "r1")
        with ledger.pages.atomic():
            ledger.pages.write("DELETE FROM requests")
            back_up(tmp_path / "queue.db", tmp_path / "copy.db")
    assert names(tmp_path / "copy.db") == ["r1"]


def test_an_older_copy_is_replaced_whole(tmp_path: Path) -> None:
    """Under the same name, without a trace of how it was made."""
    receive(tmp_path / "queue.db", "r1")
    back_up(tmp_path / "queue.db", tmp_path / "copies" / "copy.db")
    receive(tmp_path / "queue.db", "r2")
    (tmp_path / "copies" / ".copy.db.part").write_bytes(b"broken off")
    back_up(tmp_path / "queue.db", tmp_path / "copies" / "copy.db")
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["copy.db"]
    assert names(tmp_path / "copies" / "copy.db") == ["r1", "r2"]


def test_there_must_be_something_to_copy(tmp_path: Path) -> None:
    """Nothing is made of nothing."""
    with pytest.raises(BackupFailed, match="There is no"):
        back_up(tmp_path / "queue.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_gives_no_copy(tmp_path: Path) -> None:
    """The older copy stays."""
    receive(tmp_path / "queue.db", "r1")
    back_up(tmp_path / "queue.db", tmp_path / "copy.db")
    with (tmp_path / "queue.db").open("r+b") as file:
        file.write(b"no database")
    with pytest.raises(BackupFailed, match="could not be copied"):
        back_up(tmp_path / "queue.db", tmp_path / "copy.db")
    assert names(tmp_path / "copy.db") == ["r1"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """An error that says where, and nothing else."""
    receive(tmp_path / "queue.db", "r1")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackupFailed, match=r"file/copy\.db could not be written"):
        back_up(tmp_path / "queue.db", tmp_path / "file" / "copy.db")


def test_names_with_signs_are_no_trouble(tmp_path: Path) -> None:
    """SQLite takes addresses, in which `?`, `%` and `#` mean something."""
    place = tmp_path / "a?b %41 #ü'"
    place.mkdir()
    receive(place / "queue.db", "r1")
    back_up(place / "queue.db", place / "copy?.db")
    with closing(sqlite3.connect(place / "copy?.db")) as connection:
        assert connection.execute("SELECT id FROM requests").fetchall() == [("r1",)]
