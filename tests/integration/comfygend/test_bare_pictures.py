"""Pictures without a sidecar: ComfyUI's own text chunks tell how they were made."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from comfygen.folder_store import FolderStore
from comfygen.images import png_bytes
from comfygen.index import Index
from comfygend.looking import Lookout
from comfygend.reconcile import Tally, Walk
from comfygend.threads import OnThread
from tests import making

KEY = "20260104_011032_lake.png"


def painted(**chunks: str) -> bytes:
    """A picture with text chunks."""
    return png_bytes(bytes(64 * 3), 8, 8, text=chunks)


def graph() -> str:
    """What ComfyUI writes into a picture: the graph as it was posted."""
    asked = making.request(seed=5, steps=9, loras=())
    return json.dumps(making.plan(asked).graph)


@dataclass
class Desk:
    """A folder store with its index."""

    store: FolderStore
    index: OnThread[Index]

    async def put(self, key: str, content: bytes) -> None:
        await self.store.put(key, content, content_type="image/png")

    async def reconcile(self) -> Tally:
        return await Walk(Lookout(store=self.store, index=self.index, source="test")).run()

    async def keys(self) -> list[str]:
        return [known.key for known in await self.index(lambda index: index.etags())]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with (
        FolderStore(tmp_path / "outputs") as store,
        OnThread("index", lambda: Index.open(tmp_path / "index.db")) as index,
    ):
        yield Desk(store=store, index=index)


async def test_a_picture_tells_how_it_was_made(desk: Desk) -> None:
    """Prompt, seed, steps and model come from the graph inside it; the time from its key."""
    await desk.put(KEY, painted(prompt=graph()))
    await desk.reconcile()
    row = await desk.index(lambda index: index.get(KEY))
    assert row is not None
    assert (row.prompt, row.seed, row.steps, row.width) == ("a mountain lake at dawn", 5, 9, 8)
    assert row.timestamp == "2026-01-04T01:10:32.000000Z"
    assert row.models == ("v1-5-pruned-emaonly-fp16.safetensors",)


async def test_a_picture_is_read_once(desk: Desk) -> None:
    """The second reconcile finds nothing new, whether the first could read it or not."""
    await desk.put(KEY, painted(prompt=graph()))
    await desk.put("mute.png", painted())
    await desk.reconcile()
    assert (await desk.reconcile()).changes == 0


async def test_a_sidecar_has_the_last_word(desk: Desk) -> None:
    """It takes the row over when it comes, and leaves it to the picture when it goes."""
    await desk.put(KEY, painted(prompt=graph()))
    await desk.reconcile()
    sidecar = {"timestamp": "2026-01-04T01:10:32Z", "prompt": "told by the sidecar", "seed": 1}
    await desk.put(f"{KEY}.json", json.dumps(sidecar).encode())
    await desk.reconcile()
    row = await desk.index(lambda index: index.get(KEY))
    assert row is not None
    assert row.prompt == "told by the sidecar"
    await desk.store.delete(f"{KEY}.json")
    for _ in range(2):
        await desk.reconcile()
    row = await desk.index(lambda index: index.get(KEY))
    assert row is not None
    assert row.prompt == "a mountain lake at dawn"


async def test_a_deleted_picture_leaves_no_row(desk: Desk) -> None:
    """It has no sidecar that could say anything of it."""
    await desk.put(KEY, painted(prompt=graph()))
    await desk.reconcile()
    await desk.store.delete(KEY)
    await desk.reconcile()
    assert await desk.keys() == []


@pytest.mark.parametrize("chunks", [{}, {"prompt": "{"}, {"prompt": "[]"}, {"prompt": '{"a": 1}'}])
async def test_a_picture_that_tells_nothing_is_a_problem(desk: Desk, chunks: dict[str, str]) -> None:
    """It is no generation, and the reason is written down."""
    await desk.put("mute.png", painted(**chunks))
    await desk.reconcile()
    problems = await desk.index(lambda index: index.problems())
    assert [problem.key for problem in problems] == ["mute.png.json"]
    assert "no sidecar" in problems[0].reason


async def test_names_that_begin_alike_are_told_apart(desk: Desk) -> None:
    """`a.png`, `a.png-b.png` and `a.png0.png`: each has its own sidecar or gap, in the order of a listing."""
    for key in ("a.png", "a.png-b.png", "a.png0.png", "a.png.png"):
        await desk.put(key, painted(prompt=graph()))
    told = json.dumps({"timestamp": "2026-01-04T01:10:32Z", "prompt": "x"}).encode()
    await desk.put("a.png0.png.json", told)
    await desk.reconcile()
    assert sorted(await desk.keys()) == ["a.png", "a.png-b.png", "a.png.png", "a.png0.png"]
    assert (await desk.reconcile()).changes == 0
