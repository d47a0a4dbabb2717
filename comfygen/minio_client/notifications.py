"""Notifications: hints about a bucket, from its own stream, from webhooks or by polling, behind one iterator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

from comfygen.errors import StoreDenied, StoreError
from comfygen.events import MAX_LINE_BYTES, EventUnreadable, parse_body
from comfygen.minio_client.canary import Canary, Writer
from comfygen.minio_client.ear import Ear, log
from comfygen.minio_client.listener import Listener, Streams
from comfygen.minio_client.polling import Lister, Poll
from comfygen.minio_client.settings import ListenSettings, StoreSettings, Timing
from comfygen.minio_client.state import WEBHOOK_DEAF, Listening, ListenState
from comfygen.store import Hint


class Watched(Lister, Streams, Writer, Protocol):
    """The store that is watched."""

    @property
    def settings(self) -> StoreSettings: ...


class Notifications:
    """One subscription. Whatever goes wrong with it is a state, never an error: then the bucket is polled."""

    def __init__(self, store: Watched, *, prefix: str, settings: ListenSettings, timing: Timing) -> None:
        self._store, self._prefix = store, prefix
        self._settings, self._timing = settings, timing
        self._canary = Canary(store, settings, timing)
        self._ear = Ear(store.settings, prefix, settings, timing, self._canary)

    @property
    def state(self) -> ListenState:
        """Where it stands, for `/status`."""
        return replace(self._ear.state, overflows=self._ear.hints.overflows)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[AsyncIterator[Hint]]:
        """The hints. On entering, the subscription stands (or it is polled): list now, and nothing is missed.

        Entering takes `ping` + 5 s at most. Later, every reconnect and every doubt gives a RECONCILE.
        """
        loops = asyncio.create_task(self._loops(), name="notifications")
        try:
            await self._ear.settled.wait()
            self._ear.entered = True
            yield self._ear.hints
        finally:
            loops.cancel()
            await asyncio.wait((loops,))
        if not loops.cancelled():
            loops.result()  # a loop that died has ended the iteration, and says here why

    def offer(self, body: bytes) -> str | None:
        """Take a webhook's body. One that cannot be read gives a reason, no error: its sender would block on that."""
        try:
            if len(body) > MAX_LINE_BYTES:
                raise EventUnreadable(f"A notification of {len(body)} bytes.")
            self._ear.hear(parse_body(body))
        except EventUnreadable as exc:
            self._ear.unreadable()
            return exc.message
        return None

    def note_reconcile(self, found: int) -> None:
        """A reconcile found so many changes that no notification had told of."""
        self._ear.state = replace(self._ear.state, reconcile_found=self._ear.state.reconcile_found + found)

    async def _loops(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_polling(), name="notifications.poll")
                if self._settings.source == "listen":
                    listener = Listener(self._store, self._ear, self._canary, self._settings, self._timing)
                    tasks.create_task(listener.run(), name="notifications.listen")
                elif self._settings.source == "webhook":
                    tasks.create_task(self._keep_testing(), name="notifications.canary")
        finally:
            self._ear.hints.close()
            self._ear.settled.set()

    async def _keep_polling(self) -> None:
        """While nothing is heard: the tail often, everything rarely, and everything after a failure."""
        poll, failing = Poll(self._store, self._prefix, self._settings, self._timing), False
        while True:
            await self._ear.polling.wait()
            await self._timing.sleep(self._settings.poll_every)
            if not self._ear.polling.is_set():
                continue
            try:
                hints = await poll.look()
            except StoreError as failed:
                level = logging.DEBUG if failing else logging.WARNING
                log.log(level, "the bucket cannot be polled: %s", failed)
                failing = True
                continue
            for hint in hints:
                self._ear.hints.put(hint)
            if failing or self._timing.clock() - self._ear.reconciled >= self._settings.reconcile_every:
                self._ear.reconcile()
            failing = False

    async def _keep_testing(self) -> None:
        """Whether webhooks arrive: nobody else would notice that they do not."""
        while True:
            try:
                if (lag := await self._canary.sing()) is not None:
                    self._ear.sang(lag)
                elif self._ear.state.state is not Listening.DEAF:
                    self._ear.turn(Listening.DEAF, "An object was written, and no webhook came.", remedy=WEBHOOK_DEAF)
                    self._ear.reconcile()
            except StoreDenied as denied:
                log.warning("the canary cannot be written, so missing webhooks show only in a reconcile: %s", denied)
                return
            except StoreError as failed:
                log.debug("the canary could not be written: %s", failed)
            await self._timing.sleep(self._settings.canary_every)
