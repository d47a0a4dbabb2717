"""Mailbox: hints on their way to one reader, each key at most once, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from comfygen.store import Change, Hint

ROOM = 10_000


class Mailbox(AsyncIterator[Hint]):
    """The hints as they come, until the box is closed. Waiting for one may be cancelled and taken up again.

    When more keys wait than there is room for, they become one RECONCILE: nothing is lost, only named less well.
    """

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._waiting: dict[str, Hint] = {}
        self._filled = asyncio.Event()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, hint: Hint) -> None:
        """Leave a hint; a later one about the same key takes the earlier one's place."""
        if hint.key not in self._waiting and len(self._waiting) >= self._room:
            self._waiting.clear()
            hint = Hint(change=Change.RECONCILE)
        self._waiting[hint.key] = hint
        self._filled.set()

    def close(self, error: BaseException | None = None) -> None:
        """No hints will come any more; `error` is what the reader gets to see of the reason."""
        self._closed, self._error = True, error
        self._filled.set()

    async def __anext__(self) -> Hint:
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
        return self._waiting.pop(next(iter(self._waiting)))
