"""The index equals the store, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from comfygen.errors import KeyInvalid, NoSuchBucket, StoreDenied, StoreError, StoreUnavailable
from comfygen.folder_store import FolderStore
from comfygen.generation import MAX_SIDECAR_BYTES, Generation, read_sidecar
from comfygen.index import IndexBusy
from comfygen.store import Change, Hint, Stored
from comfygend import indexer as indexer_module
from comfygend.indexer import Verification
from comfygend.looking import Finding, Gone, Lookout
from comfygend.reconcile import is_suspicious
from tests.integration.comfygend.indexing import desk, indexing, pair, pairs, running, sidecar, until
from tests.integration.comfygend.memory import MemoryStore

BODY = sidecar()


class EndlessStore(MemoryStore):
    """Lists any number of objects without having them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    async def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Stored]:
        for n in range(self.count):
            for key in (f"{n:06}.png", f"{n:06}.png.json"):
                yield Stored(key=key, etag="1", size=1)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its store."""
    monkeypatch.setattr(indexer_module, "LONGEST_WAIT", 0.01)


def written(key: str) -> Hint:
    return Hint(change=Change.WRITTEN, key=key)


# -- a real folder, a foreign writer ----------------------------------------------------------------------------------


async def test_what_a_foreign_writer_does_to_a_folder_shows_in_the_index(tmp_path: Path) -> None:
    """Writes, overwrites, deletes and renames of plain files, without a word to anybody."""
    outputs = tmp_path / "outputs"
    async with FolderStore(outputs) as store, indexing(tmp_path, store) as made:
        for name in ("a b.png", "ü+%.png", "sub/c#?.png"):
            (outputs / name).parent.mkdir(exist_ok=True)
            (outputs / name).write_bytes(b"picture")
            (outputs / f"{name}.json").write_bytes(sidecar("a lake"))
        await made.has(["a b.png", "ü+%.png", "sub/c#?.png"])
        (outputs / "a b.png.json").write_bytes(sidecar("a robot"))
        (outputs / "ü+%.png.json").unlink()
        (outputs / "sub" / "c#?.png").rename(outputs / "sub" / "d.png")
        (outputs / "sub" / "c#?.png.json").rename(outputs / "sub" / "d.png.json")

        async def as_it_is() -> bool:
            return await made.rows() == {"a b.png": "a robot", "sub/d.png": "a lake"}

        await until(as_it_is)


async def test_what_happened_while_nobody_looked_is_found_at_the_start(tmp_path: Path) -> None:
    """Objects of before, and rows of objects that are gone."""
    outputs = tmp_path / "outputs"
    async with FolderStore(outputs) as store:
        for key, body in pairs(3).items():
            (outputs / key).write_bytes(body)
        async with indexing(tmp_path, store) as made:
            assert len(await made.rows()) == 3
        (outputs / "000001.png.json").unlink()
        (outputs / "000009.png.json").write_bytes(sidecar())
        async with indexing(tmp_path, store) as made:
            assert set(await made.rows()) == {"000000.png", "000002.png", "000009.png"}


async def test_an_output_that_goes_and_comes_back_is_told(tmp_path: Path) -> None:
    """The row stays, with `image_missing`; the same by an event as by a reconcile."""
    outputs = tmp_path / "outputs"
    async with FolderStore(outputs) as store, indexing(tmp_path, store) as made:
        (outputs / "a.png").write_bytes(b"picture")
        (outputs / "a.png.json").write_bytes(sidecar("a lake"))
        for prompt, change in (("[a lake]", "unlink"), ("a lake", "touch")):

            async def shows(prompt: str = prompt) -> bool:
                return await made.rows() == {"a.png": prompt}

            getattr(outputs / "a.png", change)()
            await until(shows)


# -- reconcile --------------------------------------------------------------------------------------------------------


async def test_a_reconcile_makes_the_index_equal_to_the_store(tmp_path: Path) -> None:
    """New, changed and gone sidecars; outputs without a sidecar are no generations."""
    store = MemoryStore()
    store.fill(pairs(5))
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        store.fill({"000001.png.json": sidecar("a robot"), "bare.txt": b"", **pair("new.png", "a car")})
        for key in ("000002.png", "000002.png.json", "000003.png"):
            del store.objects[key]
        tally = await made.indexer.once()
        lake = "a mountain lake at dawn"
        expected = {"000000.png": lake, "000001.png": "a robot", "000003.png": f"[{lake}]", "000004.png": lake}
        assert await made.rows() == expected | {"new.png": "a car"}
        assert (tally.read, tally.removed, tally.hidden) == (3, 1, 0)


async def test_an_unchanged_sidecar_is_never_fetched_again(tmp_path: Path) -> None:
    """Its etag says that nothing has changed."""
    store = MemoryStore()
    store.fill(pairs(50))
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        assert store.asked["get"] == 50
        await made.indexer.once()
        assert (store.asked["get"], store.asked["head"]) == (50, 0)


async def test_a_missing_output_that_came_back_unheard_is_seen_by_the_next_reconcile(tmp_path: Path) -> None:
    """Its sidecar has not changed; the row is the one that a rebuilt index would have."""
    store = MemoryStore()
    store.fill({"a.png.json": sidecar("a lake")})
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        assert await made.rows() == {"a.png": "[a lake]"}
        store.fill({"a.png": b"picture"})
        await made.indexer.once()
        row = await made.index(lambda index: index.get("a.png"))
        assert row is not None
        assert (row.image_missing, row.sidecar_etag) == (False, store.objects["a.png.json"][1])


async def test_a_listing_that_hides_an_object_removes_nothing(tmp_path: Path) -> None:
    """Only the store's own NoSuchKey does. The row stays, and is counted."""
    store = MemoryStore()
    store.fill(pair("a.png") | pair("a.png/b.png"))
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        store.hidden = {"a.png/b.png", "a.png/b.png.json"}
        tally = await made.indexer.once()
        assert (tally.missing, tally.removed, tally.hidden) == (1, 0, 1)
        assert set(await made.rows()) == {"a.png", "a.png/b.png"}


async def test_a_listing_that_breaks_off_removes_nothing(tmp_path: Path) -> None:
    """What was not listed may well be there."""
    store = MemoryStore()
    store.fill(pairs(20))
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        for key in list(store.objects)[:4]:
            del store.objects[key]
        store.listed = 25
        with pytest.raises(ExceptionGroup):
            await made.indexer.once()
        assert len(await made.rows()) == 20
        store.listed = None
        await made.indexer.once()
        assert len(await made.rows()) == 18


async def test_an_empty_listing_by_mistake_removes_nothing(tmp_path: Path) -> None:
    """A wrong prefix, or no right to list: everything is still there."""
    store = MemoryStore()
    store.fill(pairs(50))
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        store.empty = True
        for held_back in (True, False):
            tally = await made.indexer.once()
            assert (tally.held_back, tally.removed) == (held_back, 0)
        assert len(await made.rows()) == 50
        assert "reconcile" not in made.board.troubles


async def test_most_rows_go_only_when_two_listings_agree(tmp_path: Path) -> None:
    """The first one is held back and told; another one that says something else is held back again."""
    store = MemoryStore()
    store.fill(pairs(100))
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        gone = list(store.objects)
        store.objects = {key: store.objects[key] for key in gone[:80]}
        assert (await made.indexer.once()).held_back
        assert "60 of 100" in made.board.troubles["reconcile"].message
        store.objects = {key: store.objects[key] for key in gone[:40]}
        assert (await made.indexer.once()).held_back
        assert len(await made.rows()) == 100
        assert (await made.indexer.once()).removed == 80
        assert len(await made.rows()) == 20
        assert made.board.troubles == {}


async def test_more_removals_than_one_walk_makes_are_made_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their keys are not all held in memory; the next walk is asked for at once."""
    monkeypatch.setattr("comfygend.reconcile.MOST_REMOVALS", 30)
    store = MemoryStore()
    store.fill(pairs(100))
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        store.objects.clear()
        held_back, *removed = [(await made.indexer.once()).removed for _ in range(5)]
        assert (held_back, removed) == (0, [30, 30, 30, 10])


@pytest.mark.parametrize(("missing", "known", "suspicious"), [(20, 20, False), (21, 21, True), (100, 1000, False)])
def test_a_few_rows_or_a_small_share_are_believed_at_once(missing: int, known: int, suspicious: bool) -> None:
    """The valve is for a listing that is wrong as a whole."""
    assert is_suspicious(missing, known) is suspicious


async def test_a_bucket_that_is_gone_is_an_alarm_and_nothing_else(tmp_path: Path) -> None:
    """NoSuchBucket, to a list or to a HEAD, is never a reason to remove a row."""
    store = MemoryStore()
    store.fill(pairs(10))
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        del store.objects["000000.png.json"]
        for verb in ("list", "head 000000.png.json"):
            store.errors[verb] = [NoSuchBucket("The bucket does not exist.")]
            with pytest.raises((NoSuchBucket, ExceptionGroup)):
                await made.indexer.once()
        assert len(await made.rows()) == 10


async def test_a_sidecar_that_the_store_keeps_to_itself_keeps_no_other_from_being_indexed(tmp_path: Path) -> None:
    """The error is told, nothing is removed, and all the others have their rows."""
    store = MemoryStore()
    store.fill(pairs(30))
    async with desk(tmp_path, store) as made:
        store.errors["get 000003.png.json"] = [StoreDenied("No.")]
        with pytest.raises(StoreDenied):
            await made.indexer.once()
        assert len(await made.rows()) == 29
        await made.indexer.once()
        assert len(await made.rows()) == 30


async def test_a_store_that_gives_no_sidecar_at_all_is_not_asked_for_all_of_them(tmp_path: Path) -> None:
    """After a hundred failures it is taken for away."""
    store = MemoryStore()
    store.fill(pairs(2000))
    store.errors["get"] = [StoreUnavailable("Away.") for _ in range(2000)]
    async with desk(tmp_path, store) as made:
        with pytest.raises(ExceptionGroup):
            await made.indexer.once()
    assert store.asked["get"] < 200


async def test_prefixes_without_outputs_are_passed_over(tmp_path: Path) -> None:
    """Requests and claims lie in the same bucket."""
    store = MemoryStore()
    store.fill(pair("a.png") | {"requests/x.png.json": sidecar(), ".comfygen/claims/x.1.json": b"{}"})
    async with desk(tmp_path, store, excluded=("requests/", ".comfygen/")) as made:
        await made.indexer.once()
        made.indexer.see("requests/x.png.json")
        assert (await made.rows(), await made.problems()) == ({"a.png": "a mountain lake at dawn"}, {})
        assert made.indexer.pending.keys == {}


@dataclass(frozen=True, kw_only=True)
class SlowLookout(Lookout):
    """Writes what is old only when it is told to."""

    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, findings: list[Finding]) -> None:
        if any(isinstance(found, Generation) and found.prompt == "old" for found in findings):
            await self.go.wait()
        await super().write(findings)


async def test_what_a_reconcile_read_never_replaces_for_good_what_was_seen_since(tmp_path: Path) -> None:
    """A sidecar is overwritten, and its hint followed, between a reconcile's GET and its write."""
    store = MemoryStore()
    store.fill(pair("a.png", "old"))
    async with desk(tmp_path, store) as made:
        slow = SlowLookout(store=store, index=made.index, source="test")
        indexer = made.indexer
        indexer.lookout = slow

        async def new() -> bool:
            return await made.rows() == {"a.png": "new"}

        async def new_and_idle() -> bool:
            return indexer.is_idle and await new()

        async def read() -> bool:
            return store.asked["get"] == 1

        async with running((indexer.look(), indexer.reconcile())):
            await until(read)
            store.fill(pair("a.png", "new"))
            indexer.see("a.png.json")
            await until(new)
            slow.go.set()
            await until(new_and_idle)


async def test_memory_stays_flat_over_a_long_listing(tmp_path: Path) -> None:
    """Both listings are walked side by side: nobody holds all keys, and nothing grows with their number."""
    peaks = []
    for count in (1_500, 10_000):
        async with desk(tmp_path / str(count), EndlessStore(count)) as made:
            rows = (read_sidecar(f"{n:06}.png.json", BODY, etag="1", source="test") for n in range(count))
            await made.index(lambda index, rows=rows: index.upsert_many(rows))  # type: ignore[misc]
            tracemalloc.start()
            tally = await made.indexer.once()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert (tally.objects, tally.known, tally.read) == (2 * count, count, 0)
    assert peaks[1] < 1.2 * peaks[0]


async def test_what_a_reconcile_found_is_written_down(tmp_path: Path) -> None:
    """A row in `sources` says when, and what there was."""
    store = MemoryStore()
    store.fill(pairs(3) | {"bad.png.json": b"no JSON"})
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        (source,) = await made.index(lambda index: index.sources())
        assert (source.id, source.objects, source.generations, source.problems) == ("test", 7, 3, 1)
        assert source.reconciled_at is not None


# -- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "no JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", "no object"),
        (b'{"prompt": NaN}', "NaN"),
        (b'{"prompt": 7}', "prompt"),
        (b'{"prompt": "\\ud800", "timestamp": "2026-01-04T01:10:32"}', ""),
        (b" " * (MAX_SIDECAR_BYTES + 1), "bytes"),
    ],
)
async def test_an_unreadable_sidecar_is_a_problem_and_the_stream_goes_on(
    tmp_path: Path, body: bytes, reason: str
) -> None:
    """By a hint and by a reconcile alike; it is not fetched again until it changes, and mended it is a row."""
    store = MemoryStore()
    store.fill({"bad.png": b"", "bad.png.json": body, **pair("good.png")})
    async with desk(tmp_path, store) as made:
        assert await made.indexer.lookout.look(["bad.png.json", "good.png.json"]) == {}
        assert reason in (await made.problems())["bad.png.json"]
        assert list(await made.rows()) == ["good.png"]
        gets = store.asked["get"]
        await made.indexer.once()
        assert store.asked["get"] == gets
        store.fill({"bad.png.json": sidecar()})
        await made.indexer.once()
        assert (await made.problems(), len(await made.rows())) == ({}, 2)


async def test_a_key_that_no_store_of_ours_could_have_is_passed_over(tmp_path: Path) -> None:
    """A foreign server may tell of it."""
    store = MemoryStore()

    def refuse(verb: str, key: str) -> None:
        raise KeyInvalid(f"{key!r} cannot be a key.")

    store.before = refuse
    async with desk(tmp_path, store) as made:
        assert await made.indexer.lookout.look(["a//b.png.json"]) == {}


async def test_a_hint_may_lie(tmp_path: Path) -> None:
    """A deletion that never happened, a write that was undone, an output nobody knows: the look decides."""
    store = MemoryStore()
    store.fill(pair("a.png"))
    async with indexing(tmp_path, store) as made:
        for key in ("a.png.json", "a.png"):
            store.hints.put_nowait(Hint(change=Change.REMOVED, key=key))
        for key in ("never.png.json", "never.png", "no-sidecar.json"):
            store.hints.put_nowait(written(key))
        store.fill(pair("last.png"))
        store.hints.put_nowait(written("last.png.json"))
        await made.has(["a.png", "last.png"])


async def test_the_etag_of_what_was_read_is_kept_not_that_of_the_hint(tmp_path: Path) -> None:
    """The object changes between the event and the look: what is in the row is what its etag stands for."""
    store = MemoryStore()
    store.fill(pair("a.png", "first"))

    def change(verb: str, key: str) -> None:
        if verb == "get" and store.asked["get"] == 1:
            store.fill(pair("a.png", "second"))

    store.before = change
    async with desk(tmp_path, store) as made:
        await made.indexer.lookout.look(["a.png.json"])
        row = await made.index(lambda index: index.get("a.png"))
        assert row is not None
        assert (row.prompt, row.sidecar_etag) == ("second", store.objects["a.png.json"][1])


async def test_a_key_hinted_at_many_times_is_looked_at_once(tmp_path: Path) -> None:
    """Hints about one key are one."""
    store = MemoryStore()
    store.fill(pair("a.png"))
    async with desk(tmp_path, store) as made:
        for _ in range(1000):
            made.indexer.see("a.png.json")
        async with running([made.indexer.look()]):
            await made.has(["a.png"])
        assert store.asked["get"] == 1


def test_too_many_keys_become_one_reconcile() -> None:
    """The queue never blocks, and never grows beyond its bound."""
    pending = Verification(everything=False)
    for n in range(indexer_module.MOST_KEYS):
        pending.add(str(n))
    pending.add("0")
    assert (len(pending.keys), pending.everything) == (indexer_module.MOST_KEYS, False)
    pending.add("one more")
    assert (len(pending.keys), pending.everything) == (0, True)


async def test_what_the_overflow_dropped_is_found_by_its_reconcile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, only looked for in another way."""
    monkeypatch.setattr(indexer_module, "MOST_KEYS", 10)
    store = MemoryStore()
    async with indexing(tmp_path, store) as made:
        store.fill(pairs(40))
        for key in list(store.objects):
            made.indexer.see(key)
        await made.has(key for key in store.objects if key.endswith(".png"))


async def test_one_key_that_fails_is_looked_at_again_and_the_others_at_once(tmp_path: Path) -> None:
    """The store's error is told, and ends when it does."""
    store = MemoryStore()
    store.fill(pairs(5))
    store.errors["get 000002.png.json"] = [StoreUnavailable("Away.")]
    async with desk(tmp_path, store) as made:
        for key in store.objects:
            made.indexer.see(key)
        async with running([made.indexer.look()]):
            await until(made.rows)
            assert len(await made.rows()) in (4, 5)
            await made.has(key for key in store.objects if key.endswith(".png"))
        assert made.board.troubles == {}


async def test_an_index_that_somebody_else_writes_into_is_waited_for(tmp_path: Path) -> None:
    """A lock is no end of the service."""
    store = MemoryStore()
    store.fill(pair("a.png"))
    store.errors["get"] = []
    async with desk(tmp_path, store) as made:
        busy = [IndexBusy("index.db cannot be written now.")]

        def blocked(verb: str, key: str) -> None:
            if busy and verb == "get":
                raise busy.pop()

        store.before = blocked
        made.indexer.see("a.png.json")
        async with running([made.indexer.look()]):
            await made.has(["a.png"])


async def test_gone_means_gone(tmp_path: Path) -> None:
    """A sidecar that is not there any more takes its row or its problem along."""
    store = MemoryStore()
    store.fill(pair("a.png") | {"bad.png.json": b"?"})
    async with desk(tmp_path, store) as made:
        await made.indexer.once()
        store.objects.clear()
        assert await made.indexer.lookout.finding("a.png.json") == Gone(key="a.png")
        assert await made.indexer.lookout.look(["a.png.json", "bad.png.json"]) == {}
        assert (await made.rows(), await made.problems()) == ({}, {})


# -- listening --------------------------------------------------------------------------------------------------------


async def test_every_subscription_is_followed_by_a_reconcile(tmp_path: Path) -> None:
    """What was written while the line was cut is found without a hint, and the trouble ends."""
    store = MemoryStore()
    async with indexing(tmp_path, store) as made:
        store.hints.put_nowait(StoreUnavailable("The line was cut."))
        store.fill(pairs(5))
        await made.has(key for key in store.objects if key.endswith(".png"))
        assert store.subscriptions == 2
        assert made.board.troubles == {}


async def test_a_hint_to_reconcile_is_followed(tmp_path: Path) -> None:
    """Events may have been missed: everything is listed."""
    store = MemoryStore()
    async with indexing(tmp_path, store) as made:
        store.fill(pairs(5))
        store.hints.put_nowait(Hint(change=Change.RECONCILE))
        await made.has(key for key in store.objects if key.endswith(".png"))


async def test_a_store_that_cannot_be_listened_to_is_told_and_tried_again(tmp_path: Path) -> None:
    """Its listing is read meanwhile."""
    store = MemoryStore()
    store.fill(pair("a.png"))
    store.errors["listen"] = [StoreDenied("You may not listen.")]
    async with indexing(tmp_path, store) as made:
        assert set(await made.rows()) == {"a.png"}

        async def listening() -> bool:
            return store.subscriptions == 1

        await until(listening)


async def test_a_store_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """The indexer is not idle before it has seen a whole listing."""
    store = MemoryStore()
    store.fill(pair("a.png"))
    store.errors["list"] = [StoreUnavailable("Away."), StoreUnavailable("Away.")]
    async with desk(tmp_path, store) as made:
        async with running([made.indexer.reconcile()]):
            await made.idle()
        assert set(await made.rows()) == {"a.png"}
        assert made.board.troubles == {}


async def test_what_status_tells_is_json(tmp_path: Path) -> None:
    """How much waits, and what the last reconcile saw."""
    store = MemoryStore()
    store.fill(pairs(2))
    async with desk(tmp_path, store) as made:
        assert made.indexer.told()["last_reconcile"] is None
        await made.indexer.once()
        told = json.loads(json.dumps(made.indexer.told()))
        assert (told["source"], told["waiting"], told["last_reconcile"]["sidecars"]) == ("test", 0, 2)


async def test_an_error_without_a_hint_says_that_nothing_is_lost(tmp_path: Path) -> None:
    """The alarm tells what becomes of the rows."""
    store = MemoryStore()
    store.errors["list"] = [StoreError("It is broken."), NoSuchBucket("It is gone.")]
    async with desk(tmp_path, store) as made:
        for words in ("keeps what it has", "Nothing is removed"):
            with pytest.raises(ExceptionGroup) as caught:
                await made.indexer.once()
            made.indexer._alarm(indexer_module._first(caught.value))
            assert words in str(made.board.troubles["index"].hint)
