"""The folder inbox, with real files, real renames and a real watcher."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comfygen.errors import InboxError
from comfygend.inbox import Ending, InboxItem
from comfygend.inbox.drops import MAX_REQUEST_BYTES, DropRefused
from comfygend.inbox.folder import FolderInbox
from comfygend.inbox.places import MARKER
from comfygend.ledger import RequestRow, RequestState
from tests import making

GUARD = 60


@pytest.fixture
def inbox(tmp_path: Path) -> FolderInbox:
    made = FolderInbox(tmp_path / "requests", rescan_seconds=1, settle_seconds=0.2)
    made.prepare()
    return made


@asynccontextmanager
async def taking(inbox: FolderInbox) -> AsyncIterator[AsyncIterator[InboxItem]]:
    """The items of an inbox, closed at the end."""
    items = inbox.items()
    try:
        yield items
    finally:
        await items.aclose()


async def following(items: AsyncIterator[InboxItem]) -> InboxItem:
    return await asyncio.wait_for(anext(items), GUARD)


def row(item: InboxItem, request_id: str = "r1") -> RequestRow:
    """The ledger's row of an item that was received and not claimed."""
    return RequestRow(
        id=request_id,
        inbox=item.arrival.inbox,
        name=item.arrival.name,
        identity=item.arrival.identity,
        sha256=item.arrival.sha256,
        state=RequestState.RECEIVED,
        claimed=False,
        filed=False,
        inherited=False,
        stamp=datetime(2026, 1, 4, tzinfo=UTC),
        received_at="",
        ended_at=None,
        error=None,
        notes=(),
    )


async def test_files_dropped_before_and_after_the_start_are_found(inbox: FolderInbox) -> None:
    """The start looks at everything; the watcher tells of the rest."""
    (inbox.folder / "a.yaml").write_bytes(making.TEXT)
    async with taking(inbox) as items:
        first = await following(items)
        await inbox.claim(first, "r1")
        (inbox.folder / "b.yaml").write_bytes(making.TEXT)
        second = await following(items)
    assert (first.arrival.name, second.arrival.name, first.arrival.body) == ("a.yaml", "b.yaml", making.TEXT)
    assert (inbox.work / "r1__a.yaml").read_bytes() == making.TEXT


async def test_a_file_somebody_still_writes_is_waited_for(inbox: FolderInbox) -> None:
    """As long as it is open for writing it is not complete, even if it makes sense already."""
    with (inbox.folder / "a.yaml").open("wb") as file:
        file.write(making.TEXT)
        file.flush()
        async with taking(inbox) as items:
            waiting = asyncio.ensure_future(anext(items))
            (inbox.folder / "b.yaml").write_bytes(making.TEXT)
            other = await asyncio.wait_for(waiting, GUARD)
            await inbox.claim(other, "r1")
            assert not inbox.is_empty()
            file.write(b"tags: [late]\n")
            file.close()
            item = await following(items)
    assert (other.arrival.name, item.arrival.body) == ("b.yaml", making.TEXT + b"tags: [late]\n")


async def test_a_file_written_in_two_parts_is_taken_whole(inbox: FolderInbox) -> None:
    """A first part that makes no sense alone is left alone for a while."""
    inbox.settle_seconds = 60
    (inbox.folder / "a.yaml").write_bytes(making.TEXT[:20])
    async with taking(inbox) as items:
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        with (inbox.folder / "a.yaml").open("ab") as file:
            file.write(making.TEXT[20:])
        item = await asyncio.wait_for(waiting, GUARD)
    assert item.arrival.body == making.TEXT


async def test_other_files_are_never_touched(inbox: FolderInbox) -> None:
    """Temporary files, pictures and examples stay where they are."""
    for name in (".a.yaml.swp", "a.yaml~", "picture.png", "a.yaml.part", "lake.example.yaml"):
        (inbox.folder / name).write_bytes(making.TEXT)
    (inbox.folder / "real.yaml").write_bytes(making.TEXT)
    async with taking(inbox) as items:
        assert (await following(items)).arrival.name == "real.yaml"


def _symlink(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _hard_link(path: Path) -> None:
    path.with_name("secret.txt").write_text("secret", encoding="utf-8")
    os.link(path.with_name("secret.txt"), path)


def _giant(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_REQUEST_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_symlink, "symbolic link"),
        (os.mkfifo, "named pipe"),
        (Path.mkdir, "folder"),
        (_hard_link, "hard link"),
        (_giant, "at most"),
    ],
    ids=["symlink", "fifo", "folder", "hard link", "giant"],
)
async def test_what_is_no_plain_file_is_refused_unread(inbox: FolderInbox, make: object, reason: str) -> None:
    """It is never opened for content, never blocks, and can be put away with its reason."""
    assert callable(make)
    make(inbox.folder / "odd.yaml")
    async with taking(inbox) as items:
        item = await following(items)
        await inbox.claim(item, "r1")
    assert item.refusal is not None
    assert reason in item.refusal.message
    assert item.arrival.body == b""
    await inbox.file(Ending(request_id="r1", name="odd.yaml", ok=False, report={"request": "r1"}))
    assert os.path.lexists(inbox.failed / "odd.yaml")
    assert sorted(path.name for path in inbox.work.iterdir()) == []


async def test_a_name_that_is_no_utf8_kills_nothing(inbox: FolderInbox) -> None:
    """The watcher dies of it, and is made anew; the file is taken under an escaped name."""
    odd = os.fsencode(inbox.folder) + b"/caf\xe9.yaml"
    async with taking(inbox) as items:
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        with open(odd, "wb") as file:  # noqa: PTH123
            file.write(making.TEXT)
        item = await asyncio.wait_for(waiting, GUARD)
        await inbox.claim(item, "r1")
        (inbox.folder / "next.yaml").write_bytes(making.TEXT)
        assert (await following(items)).arrival.name == "next.yaml"
    assert item.arrival.name == "caf\\xe9.yaml"


async def test_a_replaced_folder_is_watched_anew(inbox: FolderInbox) -> None:
    """Somebody removes the folder and makes it again: nothing is deaf, nothing is lost."""
    async with taking(inbox) as items:
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        shutil.rmtree(inbox.folder)
        inbox.folder.mkdir()
        (inbox.folder / "a.yaml").write_bytes(making.TEXT)
        assert (await asyncio.wait_for(waiting, GUARD)).arrival.name == "a.yaml"
    assert (inbox.folder / MARKER).exists()


@pytest.mark.parametrize("place", ["work", "done", "failed"])
async def test_a_place_that_somebody_removes_is_made_anew(inbox: FolderInbox, place: str) -> None:
    """A request is claimed once, and put away."""
    shutil.rmtree(inbox.folder / place)
    (inbox.folder / "a.yaml").write_bytes(making.TEXT)
    async with taking(inbox) as items:
        await inbox.claim(await following(items), "r1")
        assert not (inbox.folder / "a.yaml").exists()
    shutil.rmtree(inbox.folder / place, ignore_errors=True)
    await inbox.file(Ending(request_id="r1", name="a.yaml", ok=place != "failed", report={"request": "r1"}))
    assert (inbox.folder / place).is_dir()


async def test_a_known_inbox_without_its_marker_is_away(tmp_path: Path) -> None:
    """At the start its disk may not be there yet: nothing is made, taken, put away or given up until it is."""
    away, folder = tmp_path / "away", tmp_path / "requests"
    FolderInbox(away).prepare()
    (away / "a.yaml").write_bytes(making.TEXT)
    (item,) = [FolderInbox(away)._item("a.yaml")]
    assert item is not None
    inbox = FolderInbox(folder)
    inbox.prepare(known=True)
    assert (folder.exists(), inbox.strays(set()), inbox.status()["state"]) == (
        False,
        [],
        "absent: its marker file is missing",
    )
    for order in (
        inbox.recover(row(item)),
        inbox.claim(item, "r1"),
        inbox.file(Ending(request_id="r1", name="a.yaml", ok=True, report={"request": "r1"})),
    ):
        with pytest.raises(InboxError, match="is away"):
            await order
    assert not folder.exists()
    away.rename(folder)
    await inbox.recover(row(item))
    assert [path.name for path in inbox.work.iterdir()] == ["r1__a.yaml"]


async def test_a_file_changed_while_it_was_taken_is_told(inbox: FolderInbox) -> None:
    """A writer that kept the file open writes into the claimed file: its hash tells."""
    (inbox.folder / "a.yaml").write_bytes(making.TEXT)
    async with taking(inbox) as items:
        item = await following(items)
        with (inbox.folder / "a.yaml").open("ab") as file:
            file.write(b"# more\n")
        with pytest.raises(DropRefused, match="changed while"):
            await inbox.claim(item, "r1")


async def test_a_file_deleted_before_the_claim_was_accepted_all_the_same(inbox: FolderInbox) -> None:
    """Its bytes are in the ledger already."""
    (inbox.folder / "a.yaml").write_bytes(making.TEXT)
    async with taking(inbox) as items:
        item = await following(items)
        (inbox.folder / "a.yaml").unlink()
        await inbox.claim(item, "r1")


async def test_files_that_come_and_go_are_no_trouble(inbox: FolderInbox, caplog: pytest.LogCaptureFixture) -> None:
    """Deleted at whatever moment between being seen and being taken: nobody is told of an error."""

    def come_and_go() -> None:
        for n in range(300):
            (inbox.folder / f"{n}.yaml").write_bytes(making.TEXT)
            (inbox.folder / f"{n}.yaml").unlink()
        (inbox.folder / "last.yaml").write_bytes(making.TEXT)

    async with taking(inbox) as items:
        coming = asyncio.create_task(asyncio.to_thread(come_and_go))
        taken = [await following(items)]
        while taken[-1].arrival.name != "last.yaml":
            await inbox.claim(taken[-1], f"r{len(taken)}")
            taken.append(await following(items))
        await coming
    assert inbox._item("nothing.yaml") is None
    assert inbox.status()["stuck"] == {}
    assert [record.message for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize("moment", [0, 2**33], ids=["1970", "2242"])
async def test_a_time_stamp_says_nothing(inbox: FolderInbox, moment: int) -> None:
    """A file from long ago or from the future is taken like any other; a broken one too is called broken in time."""
    for name, body in {"whole.yaml": making.TEXT, "broken.yaml": making.TEXT[:20]}.items():
        (inbox.folder / name).write_bytes(body)
        os.utime(inbox.folder / name, (moment, moment))
    names = set()
    async with taking(inbox) as items:
        for n in range(2):
            item = await following(items)
            names.add(item.arrival.name)
            await inbox.claim(item, f"r{n}")
    assert names == {"whole.yaml", "broken.yaml"}


async def test_an_interrupted_claim_is_finished_under_the_same_id(inbox: FolderInbox) -> None:
    """After a crash between the ledger's commit and the rename."""
    (inbox.folder / "a.yaml").write_bytes(making.TEXT)
    async with taking(inbox) as items:
        item = await following(items)
    await inbox.recover(row(item))
    assert [path.name for path in inbox.work.iterdir()] == ["r1__a.yaml"]


async def test_another_file_of_the_same_name_is_not_claimed_by_recovery(inbox: FolderInbox) -> None:
    """The name alone says nothing."""
    (inbox.folder / "a.yaml").write_bytes(making.TEXT)
    async with taking(inbox) as items:
        item = await following(items)
    (inbox.folder / "a.yaml").write_bytes(making.TEXT + b"# another\n")
    await inbox.recover(row(item))
    assert (inbox.folder / "a.yaml").exists()


def test_strays_in_work_are_given_back(inbox: FolderInbox) -> None:
    """A file that no request knows (the ledger was lost) is taken again."""
    (inbox.work / "r1__a.yaml").write_bytes(making.TEXT)
    (inbox.work / "r2__b.yaml").write_bytes(making.TEXT)
    assert inbox.strays({"r2"}) == ["r1__a.yaml"]
    assert (inbox.folder / "a.yaml").exists()
    assert (inbox.work / "r2__b.yaml").exists()


async def put_away(inbox: FolderInbox, request_id: str, *, ok: bool = True) -> None:
    (inbox.work / f"{request_id}__lake.yaml").write_bytes(request_id.encode())
    await inbox.file(Ending(request_id=request_id, name="lake.yaml", ok=ok, report={"request": request_id}))


async def test_a_finished_request_lies_beside_its_report(inbox: FolderInbox) -> None:
    """`done/<name>` and `done/<name>.result.json`."""
    await put_away(inbox, "r1")
    assert sorted(path.name for path in inbox.done.iterdir()) == ["lake.yaml", "lake.yaml.result.json"]


async def test_a_name_put_away_twice_overwrites_nothing(inbox: FolderInbox) -> None:
    """The second one carries its request's id."""
    await put_away(inbox, "r1", ok=False)
    await put_away(inbox, "r2", ok=False)
    assert (inbox.failed / "lake.yaml").read_bytes() == b"r1"
    assert (inbox.failed / "r2-lake.yaml").read_bytes() == b"r2"
    assert json.loads((inbox.failed / "r2-lake.yaml.error.json").read_bytes()) == {"request": "r2"}


async def test_filing_again_after_a_crash_changes_nothing(inbox: FolderInbox) -> None:
    """The report says whose it is, so that the same request gets the same place."""
    await put_away(inbox, "r1")
    await inbox.file(Ending(request_id="r1", name="lake.yaml", ok=True, report={"request": "r1"}))
    assert sorted(path.name for path in inbox.done.iterdir()) == ["lake.yaml", "lake.yaml.result.json"]


def test_an_inbox_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The message names the folder."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InboxError, match="file/requests"):
        FolderInbox(tmp_path / "file" / "requests").prepare()


async def test_a_place_that_somebody_deleted_is_made_again(inbox: FolderInbox) -> None:
    """Without work/, a file that cannot be moved there would be taken for deleted, and found and run again for ever."""
    shutil.rmtree(inbox.work)
    (inbox.folder / "lake.yaml").write_bytes(making.TEXT)
    async with taking(inbox) as items:
        item = await following(items)
        await inbox.claim(item, "r1")
    assert [path.name for path in inbox.work.iterdir()] == ["r1__lake.yaml"]
    assert not (inbox.folder / "lake.yaml").exists()


async def test_a_request_whose_claimed_file_was_deleted_is_put_away_all_the_same(inbox: FolderInbox) -> None:
    """With the whole of work/: its report is written."""
    for place in (inbox.work, inbox.done, inbox.failed):
        shutil.rmtree(place)
    await inbox.file(Ending(request_id="r1", name="lake.yaml", ok=True, report={"request": "r1"}))
    assert [path.name for path in inbox.done.iterdir()] == ["lake.yaml.result.json"]


async def test_a_name_with_its_own_id_is_a_requests_own(inbox: FolderInbox) -> None:
    """Also when somebody has deleted the report beside it: a request that is tried again is put away in the end."""
    (inbox.failed / "lake.yaml").write_bytes(b"of another request")
    (inbox.failed / "r1-lake.yaml").write_bytes(b"of this one, an earlier time")
    await put_away(inbox, "r1", ok=False)
    assert (inbox.failed / "r1-lake.yaml.error.json").exists()
