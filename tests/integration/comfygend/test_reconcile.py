"""Reconcile: the index made equal to the store, by one walk along both listings."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from comfygen.errors import NoSuchBucket, StoreDenied, StoreUnavailable
from comfygen.generation import Generation, read_sidecar
from comfygen.store import Stored
from comfygend.looking import Finding, Lookout
from comfygend.reconcile import is_suspicious
from tests.integration.comfygend.indexing import desk, pair, pairs, running, sidecar, until
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
            gc.freeze()  # else the rest of the suite decides how seldom garbage is collected here
            tracemalloc.start()
            tally = await made.indexer.once()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            gc.unfreeze()
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
