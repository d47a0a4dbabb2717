"""Bell: wakes loops that wait for something to do. A hint only: who is woken looks for itself."""

from __future__ import annotations

import asyncio


class Bell:
    """Rings are counted, so that one between looking and waiting is not missed:

    ``seen = bell.rings; work = look(); await bell.after(seen, timeout)``.
    """

    def __init__(self) -> None:
        self.rings = 0
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits."""
        self.rings += 1
        self._next.set()
        self._next = asyncio.Event()

    async def after(self, seen: int, timeout: float) -> bool:
        """Wait until it has rung more than `seen` times; False when that took longer than `timeout` seconds."""
        if self.rings > seen:
            return True
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the ring.
            async with asyncio.timeout(timeout):
                await self._next.wait()
        except TimeoutError:
            return False
        return True
