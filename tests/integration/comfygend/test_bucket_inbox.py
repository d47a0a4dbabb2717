"""Requests in a bucket: found, read, put away; whatever lies there, and whatever the server does."""

from __future__ import annotations

import json

import pytest

from comfygend.inbox.drops import MAX_REQUEST_BYTES
from tests import making
from tests.integration.comfygend.letterbox import PREFIX, Letterbox, ending, letterbox
from tests.integration.minio_stage import BUCKET, until

NO_REQUESTS = ["car.png", "lake.example.yaml", ".hidden.yaml", "lake.yaml.part", "folder/lake.yaml", "done/old.yaml"]
ODD = ["two words.yaml", "a+b%20c#d?.yaml", "grüße.yml", "日本.json", "👩‍🚀.yaml"]


async def test_an_object_is_handed_over_as_it_lies_there() -> None:
    """Bytes, name, time; and an id that follows from the object itself."""
    async with letterbox() as box:
        etag = await box.put("lake.yaml")
        (item,) = await box.open().has(1)
        arrival = item.arrival
        assert (arrival.name, arrival.body, arrival.identity) == (
            "lake.yaml",
            making.TEXT,
            f"{PREFIX}lake.yaml\n{etag}",
        )
        (listed,) = [stored async for stored in box.stage.store.list(PREFIX)]
        assert arrival.stamp == listed.modified
        assert (len(str(arrival.id)), arrival.inherited, item.refusal) == (26, False, None)
        assert await box.claims() == [arrival.id]


async def test_an_event_is_enough() -> None:
    """Nobody waits for the next look at everything."""
    async with letterbox() as box:
        desk = box.open(rescan_seconds=600, listen=None)
        await until(lambda: desk.inbox.looks and desk.inbox.is_empty())
        await box.put("lake.yaml")
        assert [item.arrival.name for item in await desk.has(1)] == ["lake.yaml"]


async def test_what_is_no_request_is_left_alone() -> None:
    """Pictures, examples, temporary and hidden objects, folders."""
    async with letterbox() as box:
        for name in NO_REQUESTS:
            await box.put(name)
        desk = box.open()
        await desk.looked()
        assert (desk.items, desk.inbox.is_empty()) == ([], True)
        assert await box.under() == sorted(NO_REQUESTS)


@pytest.mark.parametrize("name", ["a\\b.yaml", "tab\t.yaml", "bell\x07.yaml"])
async def test_a_key_that_we_would_never_ask_for_stops_nothing(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody may put such a thing; the others are taken, and it is told of once."""
    async with letterbox() as box:
        box.stage.double.state.storage.put(BUCKET, PREFIX + name, making.TEXT, {})
        await box.put("lake.yaml")
        desk = box.open()
        await desk.has(1)
        await desk.looked()
        assert (desk.names, desk.inbox.status()["left_alone"]) == (["lake.yaml"], 1)
        assert len([line for line in caplog.messages if "left alone" in line]) == 1


async def test_an_object_that_is_too_large_is_never_fetched() -> None:
    """It is refused by its size."""
    async with letterbox() as box:
        await box.put("lake.yaml", b"x" * (MAX_REQUEST_BYTES + 1))
        (item,) = await box.open().has(1)
        assert "a request has at most" in str(item.refusal)
        fetched = [line.key for line in box.stage.double.requests if line.operation == "GetObject"]
        assert (item.arrival.body, f"{PREFIX}lake.yaml" in fetched) == (b"", False)


async def test_an_object_that_vanishes_before_it_is_read_leaves_nothing() -> None:
    """Its claim goes too."""
    async with letterbox() as box:
        await box.put("lake.yaml")
        box.stage.double.knobs.fail("NoSuchKey", "GetObject", f"{PREFIX}lake.yaml")
        desk = box.open()
        await desk.looked()
        await box.stage.store.delete(f"{PREFIX}lake.yaml")
        await desk.looked()
        assert (desk.items, await box.claims()) == ([], [])


async def test_an_object_that_is_replaced_before_it_is_read_is_taken_as_the_new_one() -> None:
    """Never the bytes of one under the id of another."""
    async with letterbox() as box:
        etag = await box.put("lake.yaml", b"old")
        desk = box.desk()
        (old,) = [found async for found in desk.inbox.shelf.objects()]
        await box.put("lake.yaml", b"new")
        assert (old.etag, await desk.inbox.shelf.read(old)) == (etag, None)
        box.start(desk.take())
        assert [item.arrival.body for item in await desk.has(1)] == [b"new"]


async def test_an_object_that_cannot_be_read_now_is_read_later() -> None:
    """It is claimed already: that must not keep us from it."""
    async with letterbox() as box:
        await box.put("lake.yaml")
        box.stage.double.knobs.status_sequence([503], "GetObject", f"{PREFIX}lake.yaml")
        desk = box.open()
        await desk.has(1)
        assert desk.names == ["lake.yaml"]


async def test_a_store_that_is_away_is_told_and_found_again() -> None:
    """Until then nothing counts as empty."""
    async with letterbox() as box:
        box.stage.double.knobs.fail(503, "List*")
        desk = box.open()
        await until(lambda: "503" in str(desk.inbox.status()["state"]))
        assert not desk.inbox.is_empty()
        box.stage.double.knobs.mend()
        await until(desk.inbox.is_empty)
        assert desk.inbox.status()["state"] == "watching"


# -- putting away -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "left"), [("move", ["done/lake.yaml"]), ("keep", ["lake.yaml"]), ("delete", [])])
async def test_a_request_that_has_ended_is_put_away(after: str, left: list[str]) -> None:
    """Its report lies in done/ in any case; it is not taken again, and no claim is left."""
    async with letterbox() as box:
        await box.put("lake.yaml")
        desk = box.open(after=after)
        (item,) = await desk.has(1)
        await desk.inbox.file(ending(item))
        await desk.looked()
        assert sorted(await box.under()) == sorted(["done/lake.yaml.result.json", *left])
        assert (len(desk.items), await box.claims()) == (1, [])


async def test_a_request_that_has_failed_lies_in_failed() -> None:
    """With what was wrong beside it."""
    async with letterbox() as box:
        await box.put("lake.yaml")
        desk = box.open()
        (item,) = await desk.has(1)
        await desk.inbox.file(ending(item, ok=False))
        assert await box.under("failed/") == ["lake.yaml", "lake.yaml.error.json"]
        assert json.loads(await box.text("failed/lake.yaml.error.json"))["request"] == item.arrival.id


async def test_putting_away_again_changes_nothing() -> None:
    """As after a crash in between."""
    async with letterbox() as box:
        await box.put("lake.yaml")
        desk = box.open()
        (item,) = await desk.has(1)
        for _ in range(2):
            await desk.inbox.file(ending(item))
        assert await box.under() == ["done/lake.yaml", "done/lake.yaml.result.json"]


async def test_a_request_that_is_retried_leaves_its_first_ending() -> None:
    """It is either done or failed."""
    async with letterbox() as box:
        await box.put("lake.yaml")
        desk = box.open()
        (item,) = await desk.has(1)
        await desk.inbox.file(ending(item, ok=False))
        await desk.inbox.file(ending(item, again=True))
        assert await box.under() == ["done/lake.yaml", "done/lake.yaml.result.json"]


async def _end(box: Letterbox, after: str, body: bytes) -> str:
    """Put `lake.yaml`, take it and put it away; its id."""
    await box.put("lake.yaml", body)
    desk = box.open(after=after)
    (item,) = await desk.has(1)
    await desk.inbox.file(ending(item))
    box.tasks.pop().cancel()
    return str(item.arrival.id)


async def test_a_name_that_is_taken_gets_the_id_before_it() -> None:
    """Nothing is overwritten in done/."""
    async with letterbox() as box:
        await _end(box, "move", b"first")
        second = await _end(box, "move", b"second")
        assert await box.text("done/lake.yaml") == b"first"
        assert await box.text(f"done/{second}-lake.yaml") == b"second"


async def test_an_object_that_is_replaced_while_it_runs_is_a_request_of_its_own() -> None:
    """What was taken lies in done/ with its own bytes; the new one is taken."""
    async with letterbox() as box:
        await box.put("lake.yaml", b"first")
        desk = box.open()
        (first,) = await desk.has(1)
        await box.put("lake.yaml", b"second")
        await desk.inbox.file(ending(first))
        _, second = await desk.has(2)
        assert await box.text("done/lake.yaml") == b"first"
        assert (second.arrival.body, second.arrival.id != first.arrival.id) == (b"second", True)


async def test_an_object_that_is_deleted_while_it_runs_is_put_away_all_the_same() -> None:
    """Its bytes are in the ledger."""
    async with letterbox() as box:
        await box.put("lake.yaml")
        desk = box.open()
        (item,) = await desk.has(1)
        await box.stage.store.delete(f"{PREFIX}lake.yaml")
        await desk.looked()
        await desk.inbox.file(ending(item))
        assert await box.text("done/lake.yaml") == making.TEXT
        assert (await box.claims(), len(desk.items)) == ([], 1)


async def test_an_object_whose_deletion_was_undone_is_the_same_request() -> None:
    """It has the id it had, so the ledger knows that it has ended."""
    async with letterbox() as box:
        await box.put("lake.yaml")
        desk = box.open()
        (item,) = await desk.has(1)
        await desk.inbox.file(ending(item))
        assert item.arrival.stamp is not None
        box.restore("lake.yaml", making.TEXT, item.arrival.stamp)
        _, again = await desk.has(2)
        assert again.arrival.id == item.arrival.id


@pytest.mark.parametrize("name", ODD)
async def test_any_name_is_put_away_under_itself(name: str) -> None:
    """Blanks, signs, scripts, joined emoji."""
    async with letterbox() as box:
        await box.put(name)
        desk = box.open()
        (item,) = await desk.has(1)
        await desk.inbox.file(ending(item))
        assert await box.under("done/") == [name, f"{name}.result.json"]


async def test_a_name_as_long_as_can_be_leaves_room_for_its_report() -> None:
    """It is cut between two characters."""
    async with letterbox() as box:
        await box.put(f"{'ä' * 125}.yaml")
        desk = box.open()
        (item,) = await desk.has(1)
        await desk.inbox.file(ending(item))
        name = f"{'ä' * 119}.yaml"
        assert await box.under("done/") == [name, f"{name}.result.json"]


async def test_what_is_kept_is_not_taken_again_by_anybody() -> None:
    """Also where its report has the id before its name, because an earlier one has the name."""
    async with letterbox() as box:
        await _end(box, "keep", b"first")
        second = await _end(box, "keep", b"second")
        assert f"{second}-lake.yaml.result.json" in await box.under("done/")
        other = box.open("two", after="keep")
        await other.looked()
        assert (other.items, await box.claims()) == ([], [])


# -- servers without safe conditional writes --------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "mode"), [("ignore", "ignored"), ("404", "broken")])
async def test_without_safe_conditional_writes_one_service_works_alone(how: str, mode: str) -> None:
    """Said in the status; no claims are written, since they would be worth nothing."""
    async with letterbox() as box:
        box.stage.double.knobs.fail_conditional(how)
        await box.put("lake.yaml")
        desk = box.open()
        (item,) = await desk.has(1)
        assert desk.inbox.status()["mode"] == f"single service ({mode})"
        assert await desk.inbox.is_ours(str(item.arrival.id))
        await desk.inbox.file(ending(item))
        await desk.looked()
        assert (await box.under(), len(desk.items)) == (["done/lake.yaml", "done/lake.yaml.result.json"], 1)
        assert [line.key for line in box.stage.double.requests if "claims/" in line.key] == []
