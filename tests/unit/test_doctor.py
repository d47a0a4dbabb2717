"""The doctor's judgements, one by one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from comfygen.cli.doctor import databases, disks, inboxes, stores
from comfygen.cli.doctor.finding import State, bad
from comfygen.cli.doctor.site import Site, lock_holder
from comfygen.config import Config, load_config
from comfygend.ledger import Ledger
from comfygend.ledger.schema import APPLICATION_ID, SCHEMA_VERSION
from tests import making

MOUNTS = """\
22 27 0:21 / / rw,relatime - ext4 /dev/vda rw
30 27 0:40 / /srv rw - nfs4 server:/srv rw
31 27 0:41 / /srv/fast\\040disk rw shared:1 - xfs /dev/vdb rw
"""


def site(folder: Path, **keys: object) -> Site:
    """A set-up without a service."""
    return Site(config=configured(folder, **keys), file=None, service=None)


def configured(folder: Path, **keys: object) -> Config:
    flags = {"state_dir": str(folder / "state"), "inbox": [{"folder": str(folder / "requests")}], **keys}
    return load_config(None, {}, flags)


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
    ],
)
def test_which_sqlite_has_the_fault(version: tuple[int, int, int], has: bool) -> None:
    """From 3.7.0 to 3.51.2, but for the two lines that were mended as well."""
    assert databases.has_wal_bug(version) is has


def test_the_doctor_knows_what_the_service_writes_into_its_ledger() -> None:
    """The library may not import the service: the two numbers are kept equal here."""
    assert (databases.LEDGER_ID, databases.LEDGER_VERSION) == (APPLICATION_ID, SCHEMA_VERSION)


@pytest.mark.parametrize(
    ("folder", "kind", "network"),
    [
        ("/home/x", "ext4", False),
        ("/srv/x", "nfs4", True),
        ("/srv/fast disk/x", "xfs", False),
        ("/srvx", "ext4", False),
    ],
)
def test_the_file_system_of_a_folder(folder: str, kind: str, network: bool) -> None:
    """The longest mount point above it counts, names with spaces included."""
    assert disks.file_system(Path(folder), MOUNTS) == kind
    assert disks.is_network(kind) is network


def test_who_holds_the_lock(tmp_path: Path) -> None:
    """The kernel says so, by device and inode; a lock file alone says nothing."""
    path = tmp_path / "lock"
    assert lock_holder(path, "") is None
    path.write_text("1\n", encoding="ascii")
    status = path.stat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    assert lock_holder(path, f"1: FLOCK  ADVISORY  WRITE 4711 {place} 0 EOF\n") == 4711
    elsewhere = f"00:2a:{status.st_ino}"
    assert lock_holder(path, f"1: FLOCK  ADVISORY  WRITE 4711 {elsewhere} 0 EOF\n") is None
    assert lock_holder(path, f"1: FLOCK  ADVISORY  WRITE 1 {elsewhere} 0 EOF\n") == 1
    assert lock_holder(path, f"1: POSIX  ADVISORY  WRITE 4711 {place} 0 EOF\n") is None


@pytest.mark.parametrize(
    ("free", "state"), [(100 * disks.MIB, State.BAD), (1000 * disks.MIB, State.WARN), (9999 * disks.MIB, State.OK)]
)
def test_space_on_a_disk(tmp_path: Path, free: int, state: State) -> None:
    """Hardly any is bad; less than the spool may need is worth a word."""
    (found,) = disks.space("space", tmp_path, wanted=5000 * disks.MIB, usage=lambda _: (10**12, 0, free))
    assert found.state is state


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, State.OK), (-60, State.WARN), (60, State.WARN), (-1000, State.BAD), (1000, State.BAD)]
)
def test_clocks(seconds: float, state: State) -> None:
    """Fifteen minutes apart, a store refuses whatever we sign."""
    now = datetime(2026, 1, 4, tzinfo=UTC)
    (found,) = stores._clock(now + timedelta(seconds=seconds), now)
    assert found.state is state


def test_a_ledger_is_looked_at_without_leaving_anything(tmp_path: Path) -> None:
    """Sound, and it tells how many failed; no file appears beside it."""
    here = site(tmp_path)
    ledger = Ledger.open(here.config.queue_db)
    ledger.requests.receive(making.arrival(), "r1")
    ledger.requests.reject("r1", {"code": "request_invalid"})
    ledger.close()
    found = {finding.check: finding for finding in databases.ledger(here)}
    assert {check: finding.state for check, finding in found.items()} == {
        "ledger": "ok",
        "requests": "warn",
        "spool": "ok",
    }
    assert found["requests"].message == "1 failed in the last 7 days, 0 are open."
    assert [path.name for path in here.config.state_dir.iterdir()] == ["queue.db"]


def test_a_ledger_in_use_is_looked_at_as_well(tmp_path: Path) -> None:
    """What is in the write-ahead log counts."""
    here = site(tmp_path)
    with closing(Ledger.open(here.config.queue_db)) as ledger:
        ledger.requests.receive(making.arrival(), "r1")
        assert [finding.message for finding in databases.ledger(here)][1].endswith("1 are open")


@pytest.mark.parametrize("at", [0, 4096])
def test_a_damaged_ledger(tmp_path: Path, at: int) -> None:
    """Whether its head or a page is damaged: bad, and how to restore it."""
    here = site(tmp_path)
    Ledger.open(here.config.queue_db).close()
    with here.config.queue_db.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 3000)
    (found,) = databases.ledger(here)
    assert (found.state, found.remedy) == (State.BAD, databases.RESTORE)


def test_a_newer_ledger(tmp_path: Path) -> None:
    """Another version wrote it."""
    here = site(tmp_path)
    Ledger.open(here.config.queue_db).close()
    with closing(sqlite3.connect(here.config.queue_db)) as connection:
        connection.execute("PRAGMA user_version = 99")
    (found,) = databases.ledger(here)
    assert "newer ComfyGen (schema 99" in found.message


def test_an_inbox_is_left_as_it_was(tmp_path: Path) -> None:
    """Trying leases out leaves nothing behind."""
    (tmp_path / "requests").mkdir()
    found = list(inboxes.inboxes(site(tmp_path)))
    assert [finding.state for finding in found[:2]] == [State.OK, State.OK]
    assert list((tmp_path / "requests").iterdir()) == []


def test_a_secret_for_everybody_to_read(tmp_path: Path) -> None:
    """A configuration with a secret key belongs to its owner and group."""
    file = tmp_path / "c.yaml"
    file.write_text("secret_key: x", encoding="utf-8")
    store = {"endpoint": "http://127.0.0.1:9000", "bucket": "abc", "access_key": "a", "secret_key": "x"}
    here = Site(config=configured(tmp_path, store=store), file=file, service=None)
    states = []
    for mode in (0o644, 0o640):
        file.chmod(mode)
        states += [finding.state for finding in disks.secrets(here)]
    assert states == [State.WARN, State.OK]


def test_a_finding_in_lines() -> None:
    """The remedy stands below, and every further line is indented."""
    told = bad("workflow x", "No:\nnode 1\nnode 2", "Mend it.").lines()
    assert told == ["BAD   workflow x: No:", "      node 1", "      node 2", "      -> Mend it."]
