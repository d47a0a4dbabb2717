"""Watching: a folder's own notifications, which notice it themselves when they have gone deaf.

A watch is believed to stand once the event of a canary file of our own has arrived; only then the subscription counts.
A watch dies of a file name that is no UTF-8, and goes on watching nothing when its folder is replaced or another disk
is mounted over it. So the folder's identity is checked every second; a new watch follows the old one, with RECONCILE.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, suppress
from functools import partial
from types import TracebackType
from typing import Protocol, TypeVar

from watchfiles import Change as Event
from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError  # exported nowhere else

from comfygen.errors import StoreError, StoreUnavailable
from comfygen.folder_store.looking import RECONCILE, contents, look
from comfygen.folder_store.mailbox import Mailbox
from comfygen.folder_store.root import OWN_FOLDER, Root
from comfygen.store import Hint

log = logging.getLogger(__name__)
STEP_MS = 10  # how long a batch waits for one more event, and so most of the latency of a hint
DEBOUNCE_MS = 50
POLL_MS = 500
MAX_STILLBORN = 2  # watches in a row that broke before they stood: the system has no more of them to give
PROOFS = 100  # canaries, one every PROOF_SECONDS, until a watch that hears none is given up for polling
PROOF_SECONDS = 0.1
ENTER_SECONDS = 60.0
CHECK_SECONDS = 1.0
PAUSE_SECONDS = 0.5
SECOND_LOOK_SECONDS = 0.25
T = TypeVar("T")


class Run(Protocol):
    """How blocking work is run away from the loop."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


class Watching(AbstractAsyncContextManager[AsyncIterator[Hint]]):
    """The subscription of `FolderStore.listen`; entering it returns when the watch stands."""

    def __init__(self, root: Root, prefix: str, *, run: Run) -> None:
        self._root = root
        self._prefix = prefix
        self._run = run
        self._canary = root.path / OWN_FOLDER / f"canary-{secrets.token_hex(6)}"
        self._mail = Mailbox()
        self._heard = asyncio.Event()
        self._ready = asyncio.Event()
        self._polling = False
        self._broken = False
        self._stillborn = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AsyncIterator[Hint]:
        await self._run(self._root.identity)
        async with AsyncExitStack() as undo:
            self._task = asyncio.create_task(self._watch_forever(), name="folder-store-watch")
            self._task.add_done_callback(self._close)
            undo.push_async_callback(self._end)
            await self._until_ready()
            undo.pop_all()
        return self._mail

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(ENTER_SECONDS):
                await self._ready.wait()
        except TimeoutError as exc:
            raise StoreUnavailable(f"The folder {self._root.path} cannot be watched.") from exc

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _close(self, task: asyncio.Task[None]) -> None:
        self._mail.close(None if task.cancelled() else task.exception())

    async def _watch_forever(self) -> None:
        while True:
            try:
                await self._watch()
                reason = "its folder was replaced, or it heard nothing"
            except* StoreError as group:
                reason = _reasons(group)
            except* (OSError, WatchfilesRustInternalError) as group:  # awatch raises its errors in a group
                reason = _reasons(group)
                self._stillborn += 1
            if self._stillborn >= MAX_STILLBORN:
                self._poll()
            self._break(reason)
            await asyncio.sleep(PAUSE_SECONDS)

    def _break(self, reason: str) -> None:
        if not self._broken:
            log.warning("The watch on %s ended and is set up again: %s", self._root.path, reason)
            self._mail.put(RECONCILE)
        self._broken = True

    async def _watch(self) -> None:
        """One watch, from its making to its end; beside it, a guard makes sure that it hears."""
        stop = asyncio.Event()
        identity = await self._run(self._root.identity)
        guard = asyncio.create_task(self._guard(identity, stop), name="folder-store-guard")
        try:
            async with aclosing(self._batches(stop)) as batches:
                async for batch in batches:
                    await self._take(batch, stop)
        finally:
            guard.cancel()
            await asyncio.wait({guard})

    def _batches(self, stop: asyncio.Event) -> AsyncGenerator[set[tuple[Event, str]], None]:
        return awatch(
            self._root.path,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            rust_timeout=0,  # with a timeout, an event that comes just then is lost
            force_polling=self._polling or None,
            poll_delay_ms=POLL_MS,
            ignore_permission_denied=True,
        )

    async def _take(self, batch: set[tuple[Event, str]], stop: asyncio.Event) -> None:
        paths = {path for _, path in batch}
        if str(self._canary) in paths:
            self._heard.set()
        if str(self._root.path) in paths and not self._root.path.exists():
            stop.set()
            return
        added = {path for event, path in batch if event is Event.added}
        removed = {path for event, path in batch if event is Event.deleted}
        work = partial(look, self._root, self._prefix, paths=paths, added=added, removed=removed)
        seen = await self._run(work)
        self._pass_on(seen.hints)
        if seen.new_folders:  # what is written into a folder before it is watched itself gives no event
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            self._pass_on(await self._run(lambda: tuple(contents(self._root, self._prefix, seen.new_folders))))

    def _pass_on(self, hints: tuple[Hint, ...]) -> None:
        for hint in hints:
            self._mail.put(hint)

    async def _guard(self, identity: tuple[int, int], stop: asyncio.Event) -> None:
        """Prove that the watch hears, say so, and end it when its folder is no longer the one at its path."""
        try:
            if await self._hears(identity):
                self._stands()
                await self._replaced(identity)
            else:
                self._poll()
        except (OSError, StoreError) as exc:
            log.debug("The guard of the watch on %s ends it: %s", self._root.path, exc)
        finally:
            stop.set()

    async def _hears(self, identity: tuple[int, int]) -> bool:
        self._heard.clear()
        try:
            for _ in range(PROOFS):
                await self._run(partial(self._sing, identity))
                with suppress(TimeoutError):
                    async with asyncio.timeout(PROOF_SECONDS):
                        return await self._heard.wait()
        finally:
            await self._run(partial(self._canary.unlink, missing_ok=True))
        return False

    def _sing(self, identity: tuple[int, int]) -> None:
        if self._root.identity() != identity:
            raise StoreUnavailable(f"{self._root.path} is another folder now.")
        self._canary.write_text(secrets.token_hex(4), encoding="ascii")

    async def _replaced(self, identity: tuple[int, int]) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if await self._run(self._root.identity) != identity:
                return

    def _poll(self) -> None:
        if not self._polling:
            log.warning("The folder %s gives no file events, so it is polled", self._root.path)
        self._polling = True

    def _stands(self) -> None:
        if self._broken:
            log.info("The watch on %s stands again", self._root.path)
            self._mail.put(RECONCILE)
        self._broken = False
        self._stillborn = 0
        self._ready.set()


def _reasons(group: BaseExceptionGroup[Exception]) -> str:
    return "; ".join(str(exc) for exc in group.exceptions)
