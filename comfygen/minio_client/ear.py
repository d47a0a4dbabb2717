"""Ear: what all sources of notifications have in common: the hints, the state, and what an event means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace

from comfygen.events import BucketEvent
from comfygen.minio_client.canary import Canary
from comfygen.minio_client.hints import EVERYTHING, HintQueue
from comfygen.minio_client.settings import ListenSettings, StoreSettings, Timing
from comfygen.minio_client.state import REMEDIES, Listening, ListenState
from comfygen.store import Change, Hint

log = logging.getLogger("comfygen.minio_client")
FIRST: dict[str, Listening] = {
    "listen": Listening.CONNECTING,
    "webhook": Listening.LISTENING,
    "poll": Listening.POLLING,
}


class Ear:
    """One subscription to what changes below a prefix of the store."""

    def __init__(
        self, place: StoreSettings, prefix: str, settings: ListenSettings, timing: Timing, canary: Canary
    ) -> None:
        self.hints = HintQueue(settings.queue)
        self.state = ListenState(source=settings.source, state=FIRST[settings.source])
        self.settled = asyncio.Event()  # the subscription stands, or it is known why it does not
        self.polling = asyncio.Event()
        self.entered = False
        self.reconciled = timing.clock()
        self._bucket, self._root, self._prefix = place.bucket, place.prefix, prefix
        self._timing = timing
        self._canary = canary
        self._turned()

    def turn(self, state: Listening, reason: str = "", *, remedy: str | None = None) -> None:
        """Enter a state; it is logged once, when it is another one."""
        remedy = remedy or REMEDIES.get(state)
        if state is not self.state.state:
            level = logging.INFO if state is Listening.LISTENING else logging.WARNING
            text = " ".join(part for part in (reason, remedy) if part)
            log.log(level, "bucket notifications: %s. %s", state.value, text, extra={"listen_state": state.value})
        self.state = replace(self.state, state=state, remedy=remedy)
        self._turned()

    def connected(self) -> None:
        """The first byte is here: the subscription stands. After a break, everything must be looked at."""
        again = self.state.connected_since is not None
        self.state = replace(self.state, connected_since=self._timing.now(), reconnects=self.state.reconnects + again)
        if self.state.state is not Listening.DEAF:  # only an event proves that a deaf one hears again
            self.turn(Listening.LISTENING)
        self.reconcile()
        self.settled.set()

    def lost(self, reason: str) -> None:
        """The connection is gone. A state with a remedy stays: it is still what people should know."""
        if self.state.state in (Listening.LISTENING, Listening.CONNECTING):
            if self.state.remedy is None:
                log.info("bucket notifications: connecting again. %s", reason)
            self.state = replace(self.state, state=Listening.CONNECTING, remedy=reason)
            self._turned()
        self.settled.set()

    def reconcile(self) -> None:
        """Ask for a look at everything. Before the consumer has entered, it has not looked at all: no need."""
        self.reconciled = self._timing.clock()
        if self.entered:
            self.hints.put(EVERYTHING)

    def hear(self, events: Iterable[BucketEvent]) -> None:
        """Turn events into hints; no events are a ping."""
        heard = [event for event in events if event.bucket == self._bucket and event.key.startswith(self._root)]
        now = self._timing.now()
        self.state = replace(self.state, last_event=now) if heard else replace(self.state, last_ping=now)
        if heard and self.state.state is Listening.DEAF:
            self.turn(Listening.LISTENING)
            self.reconcile()
        for event in heard:
            self._hear(event)

    def sang(self, lag: float) -> None:
        self.state = replace(self.state, canary_lag=lag)

    def unreadable(self) -> None:
        self.state = replace(self.state, unreadable=self.state.unreadable + 1)

    def _hear(self, event: BucketEvent) -> None:
        key = event.key.removeprefix(self._root)
        if self._canary.hear(key) or not event.work or not key.startswith(self._prefix):
            return
        self.hints.put(Hint(change=Change.REMOVED if event.removed else Change.WRITTEN, key=key))

    def _turned(self) -> None:
        if self.state.state is Listening.LISTENING:
            self.polling.clear()
        else:
            self.polling.set()
        if self.state.state is not Listening.CONNECTING:
            self.settled.set()
