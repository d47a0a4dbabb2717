"""The index equals the store, whatever the store does meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfygen.errors import NoSuchBucket, StoreDenied, StoreError, StoreUnavailable
from comfygen.folder_store import FolderStore
from comfygen.store import Change, Hint
from comfygend import indexer as indexer_module
from tests.integration.comfygend.indexing import desk, indexing, pair, pairs, running, sidecar, until
from tests.integration.comfygend.memory import MemoryStore


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its store."""
    monkeypatch.setattr(indexer_module, "LONGEST_WAIT", 0.01)


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
