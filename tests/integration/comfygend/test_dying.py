"""Background tasks that die of something unforeseen: whoever relies on them says so, and is never half alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from comfygen.comfyui_client import ComfyUIClient, Patience
from comfygen.comfyui_client.feed import Listener
from comfygen.folder_store import FolderStore
from comfygen.store import Hint
from comfygend.inbox.folder import FolderInbox
from comfygend.inbox.watching import FolderWatch
from tests.comfyui_fake import faking, until
from tests.integration.comfygend.letterbox import letterbox
from tests.replay import graph

GUARD = 60


def die(*_: Any, **__: Any) -> Any:
    """Something that nobody has foreseen."""
    raise ZeroDivisionError("unforeseen")


async def test_the_watch_of_a_folder_inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, although it would look at the folder from time to time."""
    inbox = FolderInbox(tmp_path / "requests", rescan_seconds=2 * GUARD)
    inbox.prepare()
    monkeypatch.setattr("comfygend.inbox.watching.awatch", die)
    async with asyncio.timeout(GUARD):
        with pytest.raises(ZeroDivisionError):
            await anext(inbox.items())


async def test_the_guard_of_a_folder_watch_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the watch that it guards, which is set up anew."""
    guard, watch = FolderWatch._is, FolderWatch(tmp_path)
    monkeypatch.setattr("comfygend.inbox.watching.RETRY_SECONDS", 0.01)
    monkeypatch.setattr(FolderWatch, "_is", die)
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(GUARD):
            for _ in range(3):
                await watch.changed.wait()
                watch.changed.clear()
            monkeypatch.setattr(FolderWatch, "_is", guard)
            (tmp_path / "lake.yaml").touch()
            await watch.changed.wait()
    finally:
        running.cancel()


async def test_the_watch_of_a_bucket_inbox() -> None:
    """At once, although it would list the bucket from time to time."""

    @asynccontextmanager
    async def dying() -> AsyncIterator[AsyncIterator[Hint]]:
        yield die()

    async with letterbox() as box:
        desk = box.desk(listen=dying, rescan_seconds=2 * GUARD)
        async with asyncio.timeout(GUARD):
            with pytest.raises(ZeroDivisionError):
                await desk.take()


async def test_the_watch_of_a_folder_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The iteration of its hints ends with the error."""
    async with FolderStore(tmp_path) as store, asyncio.timeout(GUARD), store.listen() as hints:
        monkeypatch.setattr("comfygen.folder_store.watching.look", die)
        (tmp_path / "lake.png").touch()
        with pytest.raises(ZeroDivisionError):
            async for _ in hints:
                pass


async def test_the_websocket_of_a_comfyui(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits goes on by asking; the next prompt raises the error."""
    sampled = graph("flux-dev")
    async with faking() as (fake, url), ComfyUIClient(url, patience=Patience(settle=GUARD)) as client:
        first, second = (f"0b9f1f0e-3b0a-4e6e-8c52-6d2a1f3c4d5{n}" for n in (1, 2))
        await client.submit(sampled, prompt_id=first)
        monkeypatch.setattr(Listener, "take", die)
        waiting = asyncio.create_task(client.wait(first, poll=0.01))
        await fake.tell("progress", prompt_id=first)
        await until(lambda: not client._feed.connected)
        fake.succeed(first)
        assert (await waiting).status == "success"
        with pytest.raises(ZeroDivisionError):
            await client.submit(sampled, prompt_id=second)
