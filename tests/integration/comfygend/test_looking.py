"""Looking at keys: the store's own word decides, not the hint, and one bad object stops nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfygen.errors import KeyInvalid, StoreUnavailable
from comfygen.generation import MAX_SIDECAR_BYTES
from comfygen.index import IndexBusy
from comfygen.store import Change, Hint
from comfygend import indexer as indexer_module
from comfygend.indexer import Verification
from comfygend.looking import Gone
from tests.integration.comfygend.indexing import desk, indexing, pair, pairs, running, sidecar, until
from tests.integration.comfygend.memory import MemoryStore


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its store."""
    monkeypatch.setattr(indexer_module, "LONGEST_WAIT", 0.01)


def written(key: str) -> Hint:
    return Hint(change=Change.WRITTEN, key=key)


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


async def test_a_picture_too_large_to_be_read_is_a_problem_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no sidecar, and is not asked for again."""
    monkeypatch.setattr("comfygend.looking.MAX_PICTURE_BYTES", 10)
    store = MemoryStore()
    store.fill({"big.png": b"x" * 20, **pair("good.png")})
    async with desk(tmp_path, store) as made:
        for _ in range(2):
            await made.indexer.once()
        assert "20 bytes" in (await made.problems())["big.png.json"]
        assert (list(await made.rows()), store.asked["get"]) == (["good.png"], 2)
