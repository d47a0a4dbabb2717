"""Control: how a running prompt is stopped from outside; it notices between two steps, as ComfyUI does."""

from __future__ import annotations

import asyncio


class Interrupted(Exception):
    """The prompt was interrupted."""


class Control:
    """The reins of one run."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()

    def interrupt(self) -> None:
        self._stop.set()

    async def pause(self, seconds: float | None = 0.0) -> None:
        """Wait (None: for ever), letting all others run; raises Interrupted as soon as someone interrupts."""
        if seconds:
            try:
                async with asyncio.timeout(seconds):
                    await self._stop.wait()
            except TimeoutError:
                return
        elif seconds is None:
            await self._stop.wait()
        else:
            await asyncio.sleep(0)
        if self._stop.is_set():
            raise Interrupted
