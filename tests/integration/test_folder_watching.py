"""The folder store's own notifications: new folders, moved folders, impossible names, replaced folders, polling."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comfygen.errors import NoSuchBucket
from comfygen.folder_store import FolderStore
from comfygen.folder_store.mailbox import Mailbox
from comfygen.store import Change, Hint
from tests.contract.stores import hint_about

RECONCILE = Hint(change=Change.RECONCILE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store lies."""
    return tmp_path / "outputs"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[FolderStore]:
    """A store in a fresh folder."""
    async with FolderStore(folder) as store:
        yield store


async def test_a_folder_that_is_moved_in_brings_its_objects(store: FolderStore, folder: Path) -> None:
    """Moving a folder in gives one event; its objects are named all the same."""
    away = folder.with_name("away")
    (away / "deep").mkdir(parents=True)
    (away / "deep/a.png").write_bytes(b"x")
    async with store.listen() as hints:
        away.rename(folder / "run")
        await hint_about(hints, "run/deep/a.png", Change.WRITTEN)


async def test_a_folder_that_is_moved_out_asks_for_a_listing(store: FolderStore, folder: Path) -> None:
    """Moving a folder out names none of its objects, so everything is to be listed."""
    await store.put("run/a.png", b"x", content_type="image/png")
    async with store.listen() as hints:
        (folder / "run").rename(folder.with_name("away"))
        await hint_about(hints, "", Change.RECONCILE)


async def test_a_prefix_below_a_new_folder_is_heard(store: FolderStore, folder: Path) -> None:
    """Who listens below a folder that does not exist yet hears what is put into it, and nothing beside."""
    async with store.listen("run/deep/") as hints:
        await store.put("run/beside.png", b"x", content_type="image/png")
        await store.put("run/deep/a.png", b"x", content_type="image/png")
        async with asyncio.timeout(60):
            assert await anext(hints) == Hint(change=Change.WRITTEN, key="run/deep/a.png")


async def test_hidden_files_are_not_heard(store: FolderStore, folder: Path) -> None:
    """Partial files of other programs, and the store's own, give no hint."""
    async with store.listen() as hints:
        (folder / ".partial").write_bytes(b"x")
        (folder / ".partial").rename(folder / "a.png")
        async with asyncio.timeout(60):
            assert await anext(hints) == Hint(change=Change.WRITTEN, key="a.png")


async def test_a_name_that_is_no_utf8_does_not_deafen(store: FolderStore, folder: Path) -> None:
    """The watch dies of such a name; a new one stands soon, and both times a listing is asked for."""
    async with store.listen() as hints:
        (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
        await hint_about(hints, "", Change.RECONCILE)
        await hint_about(hints, "", Change.RECONCILE)
        await store.put("a.png", b"x", content_type="image/png")
        await hint_about(hints, "a.png", Change.WRITTEN)


async def test_a_folder_that_was_away_is_heard_again(store: FolderStore, folder: Path) -> None:
    """When the folder goes and comes back under other inode numbers, the watch follows it."""
    async with store.listen() as hints:
        shutil.copytree(folder, folder.with_name("copy"))
        shutil.rmtree(folder)
        await hint_about(hints, "", Change.RECONCILE)
        folder.with_name("copy").rename(folder)
        await hint_about(hints, "", Change.RECONCILE)
        await store.put("a.png", b"x", content_type="image/png")
        await hint_about(hints, "a.png", Change.WRITTEN)


async def test_a_folder_that_is_gone_cannot_be_listened_to(store: FolderStore, folder: Path) -> None:
    """Entering says so at once."""
    shutil.rmtree(folder)
    with pytest.raises(NoSuchBucket):
        await store.listen().__aenter__()


async def test_polling_hears_as_well(store: FolderStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no file events, files are polled."""
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    async with store.listen() as hints:
        (folder / "a.png").write_bytes(b"x")
        await hint_about(hints, "a.png", Change.WRITTEN)


async def test_two_listeners_hear_the_same(store: FolderStore) -> None:
    """Each subscription has hints of its own."""
    async with store.listen() as one, store.listen() as other:
        await store.put("a.png", b"x", content_type="image/png")
        await hint_about(one, "a.png", Change.WRITTEN)
        await hint_about(other, "a.png", Change.WRITTEN)


async def test_listening_leaves_no_file_behind(store: FolderStore, folder: Path) -> None:
    """The canary is gone when the subscription stands."""
    async with store.listen():
        pass
    assert [path.name for path in (folder / ".comfygen").iterdir()] == ["store"]


def written(key: str) -> Hint:
    """The hint that a key was written."""
    return Hint(change=Change.WRITTEN, key=key)


async def test_mailbox_keeps_one_hint_per_key() -> None:
    """Of several hints about a key the last one waits, in the first one's place."""
    box = Mailbox()
    for hint in (written("a"), written("b"), Hint(change=Change.REMOVED, key="a")):
        box.put(hint)
    box.close()
    assert [hint async for hint in box] == [Hint(change=Change.REMOVED, key="a"), written("b")]


async def test_full_mailbox_asks_for_a_listing() -> None:
    """When there is no room for another key, all that wait become one RECONCILE."""
    box = Mailbox(room=2)
    for key in ("a", "b", "a", "c", "d"):
        box.put(written(key))
    box.close()
    assert [hint async for hint in box] == [RECONCILE, written("d")]


async def test_closed_mailbox_tells_why() -> None:
    """The reader sees the error that ended the hints, after those that were left."""
    box = Mailbox()
    box.put(written("a"))
    box.close(OSError("gone"))
    assert await anext(box) == written("a")
    with pytest.raises(OSError, match="gone"):
        await anext(box)
