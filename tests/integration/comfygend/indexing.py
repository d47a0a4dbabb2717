"""An indexer at work over a store and a real index, for as long as a test needs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfygen.index import Index
from comfygen.store import Store
from comfygend.board import Board
from comfygend.indexer import Indexer
from comfygend.looking import Lookout
from comfygend.threads import OnThread

GUARD = 60.0


def sidecar(prompt: str = "a mountain lake at dawn", **more: object) -> bytes:
    """The bytes of a sidecar as the first generators wrote them."""
    return json.dumps({"timestamp": "2026-01-04T01:10:32", "prompt": prompt, "seed": 7, **more}).encode()


def pair(name: str, prompt: str = "a mountain lake at dawn") -> dict[str, bytes]:
    """An output and its sidecar."""
    return {name: b"picture", f"{name}.json": sidecar(prompt)}


def pairs(count: int) -> dict[str, bytes]:
    """Many outputs with their sidecars."""
    return {key: body for n in range(count) for key, body in pair(f"{n:06}.png").items()}


async def until(ready: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until something is so, and give it."""
    async with asyncio.timeout(GUARD):
        while not (value := await ready()):
            await asyncio.sleep(0.005)
    return value


@dataclass(frozen=True, kw_only=True)
class Desk:
    """An indexer and what it works with."""

    indexer: Indexer
    index: OnThread[Index]
    board: Board

    async def rows(self) -> dict[str, str]:
        """Outputs in the index and their prompts; those whose output is missing in brackets."""
        keys = [known.key for known in await self.index(lambda index: index.etags(limit=100_000))]
        found = [await self.index(lambda index, key=key: index.get(key)) for key in keys]  # type: ignore[misc]
        return {row.key: f"[{row.prompt}]" if row.image_missing else row.prompt for row in found if row is not None}

    async def problems(self) -> dict[str, str]:
        """Sidecars that cannot be read, and why."""
        return {problem.key: problem.reason for problem in await self.index(lambda index: index.problems())}

    async def has(self, keys: Iterable[str]) -> None:
        """Wait until the index has these rows and no others."""
        wanted = set(keys)
        await until(lambda: self._has(wanted))

    async def _has(self, wanted: set[str]) -> bool:
        return (await self.rows()).keys() == wanted

    async def idle(self) -> None:
        """Wait until every hint was followed."""

        async def is_idle() -> bool:
            return self.indexer.is_idle

        await until(is_idle)


@asynccontextmanager
async def desk(folder: Path, store: Store, *, excluded: tuple[str, ...] = ()) -> AsyncIterator[Desk]:
    """An indexer whose loops do not run."""
    board = Board()
    async with OnThread("index", lambda: Index.open(folder / "index.db")) as index:
        lookout = Lookout(store=store, index=index, source="test")
        indexer = Indexer(lookout, board=board, reconcile_seconds=3600, excluded=excluded)
        yield Desk(indexer=indexer, index=index, board=board)


@asynccontextmanager
async def running(work: Iterable[Awaitable[None]]) -> AsyncIterator[None]:
    """Loops that run until the block ends; one that fails, fails the test."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_awaited(each)) for each in work]
        yield
        for task in tasks:
            task.cancel()


async def _awaited(work: Awaitable[None]) -> None:
    await work


@asynccontextmanager
async def indexing(folder: Path, store: Store) -> AsyncIterator[Desk]:
    """An indexer whose three loops run, and whose first reconciles are over."""
    async with desk(folder, store) as made:
        indexer = made.indexer
        async with running((indexer.listen(), indexer.look(), indexer.reconcile())):
            await made.idle()
            yield made
