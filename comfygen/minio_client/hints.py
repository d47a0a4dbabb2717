"""HintQueue: hints between whoever hears of changes and whoever looks, coalesced by key and bounded."""

from __future__ import annotations

import asyncio

from comfygen.store import Change, Hint

EVERYTHING = Hint(change=Change.RECONCILE)


class HintQueue:
    """Putting never waits. Beyond the bound, all keys are forgotten in favour of one RECONCILE: look at everything."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._keys: dict[str, Hint] = {}
        self._everything = False
        self._filled = asyncio.Event()
        self._closed = False
        self.overflows = 0

    def __len__(self) -> int:
        return len(self._keys) + self._everything

    def put(self, hint: Hint) -> None:
        """Add a hint; the last one about a key counts."""
        if hint.change is Change.RECONCILE:
            self._everything = True
        elif hint.key in self._keys or len(self._keys) < self._bound:
            self._keys[hint.key] = hint
        else:
            self._keys.clear()
            self._everything = True
            self.overflows += 1
        self._filled.set()

    def close(self) -> None:
        """End the iteration once what is in the queue was taken."""
        self._closed = True
        self._filled.set()

    def __aiter__(self) -> HintQueue:
        return self

    async def __anext__(self) -> Hint:
        await self._filled.wait()
        if not len(self):
            raise StopAsyncIteration
        if self._everything:
            self._everything = False
            hint = EVERYTHING
        else:
            hint = self._keys.pop(next(iter(self._keys)))
        if not len(self) and not self._closed:
            self._filled.clear()
        return hint
