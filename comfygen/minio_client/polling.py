"""Polling: changes found by listing often, but little: our keys begin with the time, so the tail has what is new."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

from comfygen.minio_client.settings import ListenSettings, Timing
from comfygen.store import Change, Hint, Stored

STAMP = "%Y%m%d_%H%M%S"
AFTER_DIGITS = ":"
STAMPED = re.compile(r"\d{8}_\d{6}(?=_)")


class Lister(Protocol):
    """The store, as far as polling needs it."""

    def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Stored]: ...

    def list_direct(self, prefix: str = "") -> AsyncIterator[Stored]: ...


class Poll:
    """What a look at the bucket shows beyond the look before.

    At the root, it is the tail of the listing: keys with a time, from a while before the newest known one on. Under any
    other prefix (an inbox), it is what lies right below it. Changes elsewhere are found by a full reconcile.
    """

    def __init__(self, store: Lister, prefix: str, settings: ListenSettings, timing: Timing) -> None:
        self._store = store
        self._prefix = prefix
        self._tail = timedelta(seconds=settings.tail)
        self._now = timing.now
        self._newest: datetime | None = None
        self._known: dict[str, str] = {}

    async def look(self) -> list[Hint]:
        """Hints about what is new, changed or gone. Raises the StoreError tree; then nothing is forgotten."""
        start = self._start()
        found = {item.key: item.etag async for item in self._listing(start)}
        before = {key: etag for key, etag in self._known.items() if key > start}
        written = [Hint(change=Change.WRITTEN, key=key) for key, etag in found.items() if before.get(key) != etag]
        removed = [Hint(change=Change.REMOVED, key=key) for key in before.keys() - found.keys()]
        self._known = found
        self._newest = max((time for key in found if (time := _stamp(key))), default=self._newest)
        return written + removed

    async def _listing(self, start: str) -> AsyncIterator[Stored]:
        if self._prefix:
            async for item in self._store.list_direct(self._prefix):
                yield item
            return
        async for item in self._store.list(start_after=start):
            if item.key > AFTER_DIGITS:
                return  # `requests/done/` and the like: many, and none of them new outputs
            yield item

    def _start(self) -> str:
        """After which key to list. A key from the future (somebody's wrong clock) must not blind us to the present."""
        if self._prefix:
            return ""
        now = self._now()
        return (min(self._newest or now, now) - self._tail).strftime(STAMP)


def _stamp(key: str) -> datetime | None:
    match = STAMPED.match(key)
    try:
        return datetime.strptime(match[0], STAMP).replace(tzinfo=UTC) if match else None
    except ValueError:
        return None
