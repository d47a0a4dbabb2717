"""A run with `--once`: it ends when everything is done, not before, and not never."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfygen.config import Config, load_config
from comfygen.errors import InboxError
from comfygen.simulator import Fault, Simulator
from comfygend.inbox import InboxItem
from comfygend.inbox.folder import FolderInbox
from comfygend.service import ROLES, serve
from comfygend.spool import FETCHES
from tests import making

GUARD = 60


def configured(folder: Path, comfyui: str) -> Config:
    """A configuration with every place in one folder."""
    flags = {
        "state_dir": str(folder / "state"),
        "inbox": [{"folder": str(folder / "requests")}],
        "store": {"folder": str(folder / "outputs")},
        "comfyui": [{"url": comfyui}],
        "http": "127.0.0.1:0",
        "limits": {"settle_seconds": 0.05, "rescan_seconds": 0.2},
    }
    return load_config(None, {}, flags)


def drop(folder: Path, name: str = "lake.yaml", body: bytes = making.TEXT) -> None:
    (folder / "requests").mkdir(exist_ok=True)
    (folder / "requests" / f".{name}.part").write_bytes(body)
    (folder / "requests" / f".{name}.part").rename(folder / "requests" / name)


async def once(folder: Path, comfyui: str, roles: tuple[str, ...] = ROLES) -> int:
    async with asyncio.timeout(GUARD):
        return await serve(configured(folder, comfyui), once=True, roles=roles)


def rows(folder: Path, database: str, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{folder}/state/{database}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


async def test_nothing_to_do_is_done(tmp_path: Path) -> None:
    """Even while ComfyUI is away."""
    assert await once(tmp_path, "http://127.0.0.1:9") == 0


async def test_it_ends_when_everything_is_published_indexed_and_put_away(tmp_path: Path) -> None:
    """Twenty files, one of them bad: exit code 1, and nothing is left."""
    async with Simulator() as simulator:
        for n in range(20):
            drop(tmp_path, f"lake-{n:02}.yaml", making.TEXT.replace(b"seed: 7", b"seed: %d" % n))
        drop(tmp_path, "bad.yaml", b"workflow: flux-dev\n")
        assert await once(tmp_path, simulator.url) == 1
    assert len(list((tmp_path / "requests" / "done").glob("*.yaml"))) == 20
    assert len(list((tmp_path / "requests" / "failed").glob("*.yaml"))) == 1
    assert rows(tmp_path, "index.db", "SELECT count(*), count(DISTINCT seed) FROM generations") == [(20, 20)]
    assert await once(tmp_path, "http://127.0.0.1:9") == 0


async def test_a_job_that_is_to_be_tried_again_is_waited_for(tmp_path: Path) -> None:
    """Between two attempts nothing runs, and all the same it is not over."""
    async with Simulator(faults=[Fault(kind="oom"), Fault(kind="view_404", times=FETCHES)]) as simulator:
        drop(tmp_path)
        assert await once(tmp_path, simulator.url) == 0
        assert len(simulator.posted) == 3
    assert rows(tmp_path, "queue.db", "SELECT state FROM jobs") == [("published",)]


async def test_a_job_of_another_day_is_not_waited_for(tmp_path: Path) -> None:
    """It stays in the queue for the next run."""
    async with Simulator() as simulator:
        drop(tmp_path, body=making.TEXT + b"not_before: 2999-01-01T00:00:00Z\n")
        assert await once(tmp_path, simulator.url) == 0
        assert simulator.posted == []
    assert rows(tmp_path, "queue.db", "SELECT state FROM jobs") == [("queued",)]


async def test_a_file_that_cannot_be_taken_is_not_waited_for_and_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays where it is, and the exit code says that something is left."""

    async def refuse(self: FolderInbox, item: InboxItem, request_id: str) -> None:
        raise InboxError(f"{item.handle} cannot be taken out of the inbox.")

    drop(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(FolderInbox, "claim", refuse)
        assert await once(tmp_path, "http://127.0.0.1:9") == 1
    assert (tmp_path / "requests" / "lake.yaml").exists()
    async with Simulator() as simulator:
        assert await once(tmp_path, simulator.url) == 0


async def test_some_roles_alone_are_done_when_they_have_nothing_left_to_do(tmp_path: Path) -> None:
    """One after the other they do the whole job, and none waits for the others."""
    drop(tmp_path)
    async with Simulator() as simulator:
        for role, state in (("inbox", "queued"), ("worker", "generated"), ("publisher", "published")):
            assert await once(tmp_path, simulator.url, (role,)) == 0
            assert rows(tmp_path, "queue.db", "SELECT state FROM jobs") == [(state,)]
    for role in ("indexer", "inbox"):
        assert await once(tmp_path, "http://127.0.0.1:9", (role,)) == 0
    assert rows(tmp_path, "index.db", "SELECT count(*) FROM generations") == [(1,)]
    assert (tmp_path / "requests" / "done" / "lake.yaml").exists()


async def test_what_a_crash_left_in_the_spool_is_dropped_when_nobody_needs_it(tmp_path: Path) -> None:
    """Published already, or of no job at all; a file in work/ of no request is taken again, over no other."""
    (tmp_path / "state" / "spool" / "nobody").mkdir(parents=True)
    (tmp_path / "requests" / "work").mkdir(parents=True)
    (tmp_path / "requests" / "work" / "r0__lake.yaml").write_bytes(making.TEXT)
    drop(tmp_path, body=making.TEXT + b"tags: [other]\n")
    async with Simulator() as simulator:
        assert await once(tmp_path, simulator.url) == 0
        assert len(simulator.posted) == 2
    assert list((tmp_path / "state" / "spool").iterdir()) == []
