"""Listener: keeps one notification stream alive, and knows when it only seems to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from comfygen.errors import StoreDenied, StoreError
from comfygen.events import BucketEvent
from comfygen.minio_client.canary import Canary
from comfygen.minio_client.ear import Ear, log
from comfygen.minio_client.settings import ListenSettings, Timing
from comfygen.minio_client.state import Deaf, Listening, ListenRefused, StreamLost
from comfygen.minio_client.waiting import until_failure

SILENT_PINGS = 3


class Streams(Protocol):
    """The store, as far as the listener needs it."""

    def open_stream(
        self, settings: ListenSettings
    ) -> AbstractAsyncContextManager[AsyncIterable[tuple[BucketEvent, ...]]]: ...


class Listener:
    """Connects, reads, watches and connects again, for ever."""

    def __init__(self, store: Streams, ear: Ear, canary: Canary, settings: ListenSettings, timing: Timing) -> None:
        self._store, self._ear, self._canary = store, ear, canary
        self._settings, self._timing = settings, timing
        self._last_byte: float | None = None
        self._connected = asyncio.Event()
        self._progress = False

    async def run(self) -> None:
        """Reconnect soon after a break; after a refusal, which only people can mend, every few minutes."""
        attempt = 0
        while True:
            try:
                await self._one_connection()
            except ListenRefused as refusal:
                self._ear.turn(refusal.state, refusal.message, remedy=refusal.hint)
                await self._timing.sleep(self._settings.retry_refused)
            except StoreError as lost:
                attempt = 0 if self._progress else attempt
                self._note(lost)
                await self._timing.sleep(
                    self._timing.backoff(attempt, base=self._settings.backoff_base, cap=self._settings.backoff_cap)
                )
                attempt += 1

    def _note(self, lost: StoreError) -> None:
        if isinstance(lost, Deaf):
            self._ear.turn(Listening.DEAF, lost.message)
        self._ear.lost(str(lost))

    async def _one_connection(self) -> None:
        self._last_byte, self._progress = None, False
        self._connected.clear()
        await until_failure(self._read(), self._watch(), self._test())

    async def _read(self) -> None:
        async with self._store.open_stream(self._settings) as stream:
            async for events in stream:
                self._last_byte = self._timing.clock()
                if self._connected.is_set():
                    self._progress = True  # not with the first line: each connection has one
                else:
                    self._connected.set()
                    self._ear.connected()
                self._ear.hear(events)

    async def _watch(self) -> None:
        """No first byte is a muffled server; no byte later on is a connection that only one side still believes in."""
        limit = self._settings.ping + self._settings.first_byte
        await self._timing.sleep(limit)
        if self._last_byte is None:
            raise ListenRefused(Listening.MUFFLED, f"Connected, but not a byte within {limit:g} s.")
        longest = SILENT_PINGS * self._settings.ping
        while (quiet := self._timing.clock() - self._last_byte) < longest:
            await self._timing.sleep(longest - quiet)
        raise StreamLost(f"The notification stream was silent for {quiet:.0f} s.")

    async def _test(self) -> None:
        """Sing now and then; at once when the connection before was deaf."""
        await self._connected.wait()
        while True:
            deaf = self._ear.state.state is Listening.DEAF
            await self._timing.sleep(self._settings.poll_every if deaf else self._settings.canary_every)
            try:
                lag = await self._canary.sing()
            except StoreDenied as denied:
                log.warning("the canary cannot be written, so a deaf listener shows only in a reconcile: %s", denied)
                return
            except StoreError as failed:
                log.debug("the canary could not be written: %s", failed)
                continue
            if lag is None:
                raise Deaf(f"An object was written, and its event did not come in {self._settings.canary_bound:g} s.")
            self._ear.sang(lag)
