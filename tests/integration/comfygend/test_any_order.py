"""Whatever happens in a store, and whichever hints of it arrive: the index ends up as one made anew."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from comfygen.generation import Generation
from comfygen.store import Change, Hint
from tests import making
from tests.integration.comfygend.indexing import Desk, desk, indexing, sidecar, until
from tests.integration.comfygend.memory import MemoryStore

NAMES = ("a.png", "a.png.b.png", "a.pngx.png", "ab.png", "ä.png", "dir/a.png", "dir/a.png.json.png", "v.mp4")


def changes(chance: random.Random, store: MemoryStore) -> dict[str, Callable[[str], str]]:
    """What may happen to an output of this name; gives the key that it happened to."""

    def put(key: str, body: bytes) -> str:
        store.fill({key: body})
        return key

    def remove(key: str) -> str:
        store.objects.pop(key, None)
        return key

    return {
        "output": lambda name: put(name, making.picture(8, 8 + chance.randrange(3))),
        "sidecar": lambda name: put(f"{name}.json", sidecar(f"a lake {chance.randrange(3)}")),
        "broken sidecar": lambda name: put(f"{name}.json", b"?"),
        "no output": remove,
        "no sidecar": lambda name: remove(f"{name}.json"),
    }


async def known(made: Desk) -> tuple[list[Generation], dict[str, str]]:
    """All rows and all problems."""
    keys = sorted(await made.rows())
    rows = [await made.index(lambda index, key=key: index.get(key)) for key in keys]  # type: ignore[misc]
    return [row for row in rows if row is not None], await made.problems()


async def rebuilt(folder: Path, store: MemoryStore) -> tuple[list[Generation], dict[str, str]]:
    """What an index knows that never saw anything but the store as it is."""
    async with desk(folder, store) as made:
        await made.indexer.once()
        return await known(made)


@pytest.mark.parametrize("seed", range(8))
async def test_after_a_reconcile_the_index_is_as_if_made_anew(tmp_path: Path, seed: int) -> None:
    """Hints are lost, doubled, late and wrong; reconciles happen in between."""
    chance, store = random.Random(seed), MemoryStore()
    happens = changes(chance, store)
    async with desk(tmp_path / "kept", store) as made:
        for _ in range(60):
            key = chance.choice(list(happens.values()))(chance.choice(NAMES))
            hinted = [key, key] if chance.random() < 0.5 else []
            assert await made.indexer.lookout.look([*hinted, f"{chance.choice(NAMES)}.json"]) == {}
            if chance.random() < 0.1:
                await made.indexer.once()
        await made.indexer.once()
        assert await known(made) == await rebuilt(tmp_path / "new", store)


@pytest.mark.parametrize("seed", range(3))
async def test_the_same_with_all_loops_running(tmp_path: Path, seed: int) -> None:
    """Looks and reconciles at the same time, in whatever order they come."""
    chance, store = random.Random(seed), MemoryStore()
    happens = changes(chance, store)
    async with indexing(tmp_path / "kept", store) as made:
        for n in range(200):
            key = chance.choice(list(happens.values()))(chance.choice(NAMES))
            if chance.random() < 0.7:
                store.hints.put_nowait(Hint(change=chance.choice([Change.WRITTEN, Change.REMOVED]), key=key))
            if n % 40 == 0:
                store.hints.put_nowait(Hint(change=Change.RECONCILE))
                await made.idle()
        store.hints.put_nowait(Hint(change=Change.RECONCILE))
        expected = await rebuilt(tmp_path / "new", store)

        async def equal() -> bool:
            return await known(made) == expected

        await until(equal)
