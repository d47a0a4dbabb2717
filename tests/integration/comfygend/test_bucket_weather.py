"""A foreign client writes and deletes while notifications are lost, doubled, mixed up and cut."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from comfygen.errors import StoreUnavailable
from comfygen.index import Index
from comfygen.minio_client import ListenSettings, MinioStore
from comfygend.board import Board
from comfygend.ears import Ear
from comfygend.indexer import Indexer
from comfygend.looking import Lookout
from comfygend.threads import OnThread
from tests.integration.minio_stage import Stage, set_stage

GUARD = 90.0
OBJECTS = 2000


def sidecar(prompt: str, **told: object) -> bytes:
    return json.dumps({"timestamp": "2026-01-04T01:10:32Z", "prompt": prompt, "seed": 1, **told}).encode()


async def surely(work: Callable[[], Awaitable[object]]) -> None:
    """What a foreign client does until the server is there to do it."""
    async with asyncio.timeout(GUARD):
        while True:
            try:
                await work()
            except StoreUnavailable:
                await asyncio.sleep(0.01)
            else:
                return


@dataclass
class Scene:
    """A bucket, a store of its own for the foreign client, and an indexer at work."""

    stage: Stage
    foreign: MinioStore
    indexer: Indexer
    index: OnThread[Index]
    ear: Ear

    async def write(self, name: str, prompt: str, **told: object) -> None:
        await surely(lambda: self.foreign.put(f"{name}.png", b"picture", content_type="image/png"))
        body = sidecar(prompt, **told)
        await surely(lambda: self.foreign.put(f"{name}.png.json", body, content_type="application/json"))

    async def remove(self, name: str) -> None:
        await surely(lambda: self.foreign.delete(f"{name}.png.json"))
        await surely(lambda: self.foreign.delete(f"{name}.png"))

    async def listens(self) -> None:
        """Wait until hints come, or it is known why none do, and everything before them was looked at."""
        async with asyncio.timeout(GUARD):
            while not (self.indexer.is_idle and self.ear.told()["state"] in ("listening", "unsupported")):
                self.stage.double.knobs.send(" ")  # what an old server says now and then
                await asyncio.sleep(0.02)

    async def shows(self, expected: dict[str, str]) -> None:
        """Wait until the index is as expected, by hints alone."""
        async with asyncio.timeout(GUARD):
            while await self.rows() != expected:
                await asyncio.sleep(0.02)

    async def rows(self) -> dict[str, str]:
        """Every row by key, with its prompt."""

        def read(index: Index) -> dict[str, str]:
            found = (index.get(known.key) for known in index.etags(limit=10**6))
            return {row.key: row.prompt for row in found if row is not None}

        return await self.index(read)

    async def agrees(self, expected: dict[str, str]) -> None:
        """Wait until the index is equal to the bucket; a reconcile must have the last word."""
        async with asyncio.timeout(GUARD):
            while await self.rows() != expected:
                self.indexer.pending.add_everything()
                await asyncio.sleep(0.1)


@asynccontextmanager
async def scene(folder: Path, dialect: str = "minio") -> AsyncIterator[Scene]:
    listening = ListenSettings(ping=2, backoff_base=0.01, backoff_cap=0.1)
    async with (
        set_stage(prefix="", attempts=2, listening=listening) as stage,
        stage.another() as foreign,
        OnThread("index", lambda: Index.open(folder / "index.db")) as index,
    ):
        stage.double.knobs.dialect(dialect)
        lookout = Lookout(store=stage.store, index=index, source="test")
        ear = Ear(stage.store)
        indexer = Indexer(lookout, board=Board(), reconcile_seconds=600, excluded=(".comfygen/",), ear=ear)
        loops = [asyncio.create_task(run()) for run in (indexer.listen, indexer.look, indexer.reconcile)]
        try:
            made = Scene(stage=stage, foreign=foreign, indexer=indexer, index=index, ear=ear)
            await made.listens()
            yield made
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)


async def storm(made: Scene, chance: random.Random) -> None:
    """One thing after another goes wrong with the notifications, until cancelled."""
    knobs = made.stage.double.knobs
    knobs.weather(drop=0.1, duplicate=0.1, reorder=0.2, seed=1)
    while True:
        await asyncio.sleep(0.05)
        strike = chance.choice(["cut", "middle", "half", "deaf", "restart", "giant"])
        if strike == "cut":
            knobs.cut()
        elif strike == "middle":
            knobs.cut_after(chance.randrange(1, 1500))
        elif strike == "half":
            knobs.half_open()
        elif strike == "deaf":
            knobs.deaf(until_reconnect=True)
        elif strike == "giant":
            knobs.send(size=1_500_000)
        else:
            await knobs.restart()


async def write_all(made: Scene, chance: random.Random) -> dict[str, str]:
    """2,000 objects written, some overwritten, some deleted again, sixteen at once; what is left, by key."""
    expected: dict[str, str] = {}
    gate = asyncio.Semaphore(16)

    async def one(n: int) -> None:
        name, fate = f"20260104_0110{n % 60:02}_lake-{n}", chance.random()
        async with gate:
            await made.write(name, f"first {n}")
            if fate < 0.2:
                await made.write(name, f"second {n}")
            if fate > 0.7:
                await made.remove(name)
            else:
                expected[f"{name}.png"] = f"{'second' if fate < 0.2 else 'first'} {n}"

    await asyncio.gather(*(one(n) for n in range(OBJECTS // 2)))
    return expected


async def test_the_index_equals_the_bucket_after_a_storm(tmp_path: Path) -> None:
    """Whatever was lost, doubled, mixed up or cut: after the next reconcile the rows are the right ones."""
    async with scene(tmp_path) as made:
        await made.agrees({})
        weather = asyncio.create_task(storm(made, random.Random(1)))
        expected = await write_all(made, random.Random(2))
        weather.cancel()
        await asyncio.wait({weather})
        made.stage.double.knobs.healthy()
        await made.agrees(expected)


async def test_hints_alone_keep_up_in_fair_weather(tmp_path: Path) -> None:
    """Without any reconcile after the first, each write and delete shows in the index."""
    async with scene(tmp_path) as made:
        before = made.indexer.last
        for n in range(20):
            await made.write(f"lake-{n}", f"number {n}")
        for n in range(10):
            await made.remove(f"lake-{n}")
        await made.shows({f"lake-{n}.png": f"number {n}" for n in range(10, 20)})
        assert made.indexer.last is before


async def test_old_events_change_nothing(tmp_path: Path) -> None:
    """A server that replays its past on connecting (RustFS) is told no more than hints."""
    async with scene(tmp_path) as made:
        await made.write("lake", "kept")
        await made.write("gone", "x")
        await made.remove("gone")
        await made.agrees({"lake.png": "kept"})
        made.stage.double.knobs.replay(100)
        made.stage.double.knobs.emit_phantom_delete("comfy-gen", "lake.png.json")
        made.stage.double.knobs.cut()
        await made.write("last", "heard")
        await made.agrees({"lake.png": "kept", "last.png": "heard"})


async def test_an_edited_sidecar_changes_its_row(tmp_path: Path) -> None:
    """A new etag means another look."""
    async with scene(tmp_path) as made:
        await made.write("lake", "first")
        await made.agrees({"lake.png": "first"})
        await made.foreign.put("lake.png.json", sidecar("second"), content_type="application/json")
        await made.agrees({"lake.png": "second"})


async def test_an_object_hidden_beneath_another_keeps_its_row(tmp_path: Path) -> None:
    """MinIO lists nothing below an object: the row stays, for a HEAD still finds the sidecar."""
    async with scene(tmp_path) as made:
        await made.write("folder/lake", "hidden")
        await made.agrees({"folder/lake.png": "hidden"})
        await made.foreign.put("folder", b"an object in the way", content_type="text/plain")
        await made.agrees({"folder/lake.png": "hidden"})
        async with asyncio.timeout(GUARD):
            while not (made.indexer.last and made.indexer.last.hidden):
                made.indexer.pending.add_everything()
                await asyncio.sleep(0.05)
        assert await made.rows() == {"folder/lake.png": "hidden"}
