"""The folder store on a real file system: nothing escapes, nothing is torn, and a missing disk is no empty store."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from comfygen.errors import (
    ComfyGenError,
    KeyInvalid,
    NoSuchKey,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from comfygen.folder_store import FolderStore
from comfygen.folder_store.faults import MEANINGS, mapped, store_error
from comfygen.folder_store.placing import claim_and_place, place_new
from comfygen.store import Stored
from tests.contract.stores import keys_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store lies."""
    return tmp_path / "outputs"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[FolderStore]:
    """A store in a fresh folder."""
    async with FolderStore(folder) as store:
        yield store


async def put(store: FolderStore, key: str, body: bytes | Path = b"x") -> Stored:
    """Store a picture."""
    return await store.put(key, body, content_type="image/png")


@pytest.mark.parametrize("key", [".hidden.png", ".comfygen/store", "a/.b/c.png"])
async def test_hidden_names_are_the_stores_own(store: FolderStore, key: str) -> None:
    """Keys with a part that begins with a dot are refused: the store keeps its own files there."""
    with pytest.raises(KeyInvalid, match="begins with a dot"):
        await put(store, key)


@pytest.mark.parametrize(("first", "second"), [("a.png", "a.png/b.png"), ("a.png/b.png", "a.png")])
@pytest.mark.parametrize("only_new", [False, True])
async def test_no_key_is_the_folder_of_another(store: FolderStore, first: str, second: str, only_new: bool) -> None:
    """A key below an object, or with objects below it, is refused, and what was there stays."""
    await put(store, first)
    with pytest.raises(KeyInvalid, match="the folder of other objects"):
        await store.put(second, b"y", content_type="image/png", if_none_match=only_new)
    assert await keys_of(store) == [first]


async def test_nothing_outside_is_reached_through_links(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    """Links to files and folders are no objects and no way out: not for reading, listing, writing or deleting."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    (folder / "link").symlink_to(outside)
    (folder / "secret.png").symlink_to(outside / "secret.png")
    for key in ("link/secret.png", "secret.png"):
        with pytest.raises(NoSuchKey):
            await store.get(key)
        await store.delete(key)
    with pytest.raises(KeyInvalid):
        await put(store, "link/new.png")
    assert (await keys_of(store), [path.name for path in outside.iterdir()]) == ([], ["secret.png"])


async def test_a_put_replaces_a_link_and_not_what_it_points_to(
    store: FolderStore, folder: Path, tmp_path: Path
) -> None:
    """Writing to a key that is a link leaves the link's target alone."""
    target = tmp_path / "target.png"
    target.write_bytes(b"old")
    (folder / "a.png").symlink_to(target)
    await put(store, "a.png", b"new")
    assert (target.read_bytes(), (await store.get("a.png"))[0]) == (b"old", b"new")


async def test_pipes_are_no_objects(store: FolderStore, folder: Path) -> None:
    """A named pipe is neither listed nor waited for."""
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(NoSuchKey):
        await store.get("pipe.png")
    assert await keys_of(store) == []


async def test_names_that_cannot_be_keys_are_left_out_and_told(
    store: FolderStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file name that is no UTF-8 or breaks the rules does not stop a listing; the log counts it."""
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")
    (folder / "back\\slash.png").write_bytes(b"x")
    (folder / ".partial.png").write_bytes(b"x")
    await put(store, "good.png")
    assert await keys_of(store) == ["good.png"]
    assert "Left out 2 files whose names cannot be keys." in caplog.text


async def test_a_failed_put_leaves_nothing_behind(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    """When the body cannot be read, no draft and no object remains."""
    with pytest.raises(StoreError, match="was to be stored, but does not exist"):
        await put(store, "a.png", tmp_path / "none.png")
    assert [*folder.rglob("*.png"), *folder.glob(".comfygen/tmp/*")] == []


async def test_old_drafts_of_a_crash_are_swept_at_the_start(folder: Path) -> None:
    """What a crash left half-written is removed after a day; a draft that may be another's is not."""
    async with FolderStore(folder) as store:
        await put(store, "a.png")
    old, new = folder / ".comfygen/tmp/old", folder / ".comfygen/tmp/new"
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    async with FolderStore(folder):
        assert (old.exists(), new.exists()) == (False, True)


async def test_deleting_the_last_object_removes_its_folders(store: FolderStore, folder: Path) -> None:
    """Folders that are left empty go with the object; others, and the store itself, stay."""
    await put(store, "a/b/c.png")
    await put(store, "a/d.png")
    await store.delete("a/b/c.png")
    assert [path.name for path in (folder / "a").iterdir()] == ["d.png"]
    await store.delete("a/d.png")
    assert ((folder / "a").exists(), folder.exists()) == (False, True)


async def test_rewriting_in_place_changes_the_etag(store: FolderStore, folder: Path) -> None:
    """A rewrite of equal size that puts the time back is still a new etag."""
    before = await put(store, "a.png", b"one")
    path = folder / "a.png"
    times = path.stat()
    while path.stat().st_ctime_ns == times.st_ctime_ns:  # the kernel's clock ticks every few milliseconds
        path.write_bytes(b"two")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = await store.head("a.png")
    assert (after.modified, after.etag == before.etag) == (before.modified, False)


@pytest.mark.parametrize(
    ("key", "media_type"),
    [
        ("a.png", "image/png"),
        ("a.PNG.json", "application/json"),
        ("a.MP4", "video/mp4"),
        ("a", "application/octet-stream"),
    ],
)
async def test_media_type_follows_the_suffix(store: FolderStore, key: str, media_type: str) -> None:
    """A folder keeps no types: they are told by the name."""
    await put(store, key)
    assert (await store.head(key)).content_type == media_type


async def test_file_urls_are_encoded_per_segment(store: FolderStore, folder: Path) -> None:
    """A file URL names the file, whatever its name."""
    url = store.url("a/b c?#%.png")
    assert url.endswith("/outputs/a/b%20c%3F%23%25.png")
    assert unquote(urlsplit(url).path) == str(folder / "a/b c?#%.png")


def test_public_url_stands_before_the_key(folder: Path) -> None:
    """Where a web server serves the folder, URLs say so, and no file is touched for that."""
    store = FolderStore(folder, public_url="https://example.org/out/")
    assert (store.url("a/b c.png"), folder.exists()) == ("https://example.org/out/a/b%20c.png", False)


async def test_an_unmounted_disk_is_no_empty_store(store: FolderStore, folder: Path) -> None:
    """When an empty folder stands where the store was, nothing is listed, read or written there."""
    await put(store, "a.png")
    folder.rename(folder.with_name("away"))
    folder.mkdir()
    for attempt in (keys_of(store), store.head("a.png"), put(store, "b.png"), store.delete("a.png")):
        with pytest.raises(StoreUnavailable, match="is not the folder that it was at the start"):
            await attempt
    assert [*folder.iterdir()] == []


async def test_another_store_in_its_place_is_refused(store: FolderStore, folder: Path) -> None:
    """A folder with the mark of another store is another store."""
    folder.rename(folder.with_name("away"))
    async with FolderStore(folder):
        with pytest.raises(StoreUnavailable):
            await keys_of(store)


async def test_a_disk_that_comes_back_is_the_store_again(store: FolderStore, folder: Path) -> None:
    """The same mark under other inode numbers, as after a remount or a restored copy, is the same store."""
    await put(store, "a.png")
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    assert await keys_of(store) == ["a.png"]


async def test_what_is_no_folder_cannot_be_opened(tmp_path: Path) -> None:
    """A file in the place of the folder is told at the start."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be opened as a store"):
        await FolderStore(tmp_path / "file").__aenter__()


async def test_a_store_that_is_not_open_says_so(folder: Path) -> None:
    """Before it is entered, and after it is left, a store does nothing."""
    with pytest.raises(StoreError, match="is not open"):
        await FolderStore(folder).head("a.png")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreDenied),
        (errno.EPERM, StoreDenied),
        (errno.EROFS, StoreDenied),
        (errno.ENAMETOOLONG, KeyInvalid),
        (errno.EFBIG, StoreError),
        (errno.EIO, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (errno.EMFILE, StoreUnavailable),
    ],
)
def test_the_systems_errors_become_ours(number: int, expected: type[ComfyGenError]) -> None:
    """Each error of the operating system has its meaning; what is not in the table is tried again."""
    with pytest.raises(expected, match="it cannot be: ") as caught, mapped("it cannot be"):
        raise OSError(number, os.strerror(number))
    assert (type(caught.value), isinstance(caught.value.__cause__, OSError)) == (expected, True)


def test_every_error_of_the_table_says_what_to_do() -> None:
    """Who cannot simply wait is told the remedy."""
    hints = [store_error(OSError(number, ""), "it").hint for number in MEANINGS]
    assert None not in hints


@pytest.mark.parametrize("place", [place_new, claim_and_place])
def test_a_name_is_given_once(tmp_path: Path, place: object) -> None:
    """With hard links and without, the first file keeps the name and the second finds it taken."""
    first, second, target = (str(tmp_path / name) for name in ("first", "second", "target"))
    Path(first).write_bytes(b"1")
    Path(second).write_bytes(b"2")
    assert callable(place)
    place(first, target)
    with pytest.raises(FileExistsError):
        place(second, target)
    assert ({path.name for path in tmp_path.iterdir()}, Path(target).read_bytes()) == ({"second", "target"}, b"1")
