"""Backends: the ComfyUI servers, and whether each of them is there."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from comfygen.comfyui_client import ComfyUIClient, Server
from comfygen.errors import ComfyUIUnavailable
from comfygend.board import Board
from comfygend.retry import backoff

FIRST_WAIT, LONGEST_WAIT, CHECK_SECONDS = 0.25, 15.0, 30.0


@dataclass
class Backend:
    """One ComfyUI server. Its circuit is open while it cannot be reached: jobs wait, they do not fail."""

    name: str
    client: ComfyUIClient
    board: Board
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    away: asyncio.Event = field(default_factory=asyncio.Event)
    server: Server | None = None
    failures: int = 0
    running: dict[str, str] = field(default_factory=dict)

    def lost(self, error: ComfyUIUnavailable) -> None:
        """It did not answer: nothing is sent until it does again."""
        self.failures += self.reached.is_set()
        self.reached.clear()
        self.away.set()
        self.board.trouble(self.name, error.message, f"{error.hint or ''} Jobs wait until it is back.".strip())

    async def watch(self) -> None:
        """Find out whether it is there: often while it is not, now and then while it is. Until cancelled.

        One that is there and is lost all the same (it says who it is, and cannot do anything else) is asked ever more
        rarely, too.
        """
        while True:
            try:
                self.server = await self.client.server(refresh=True)
            except ComfyUIUnavailable as exc:
                self.lost(exc)
                self.failures += 1
                await self._pause()
                continue
            self.away.clear()
            self.reached.set()
            self.board.well(self.name)
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self.away.wait()
            except TimeoutError:
                self.failures = 0
            else:
                await self._pause()

    async def _pause(self) -> None:
        wait = backoff(self.failures, 0.5 + random.random() / 2, first=FIRST_WAIT, longest=LONGEST_WAIT)
        await asyncio.sleep(wait)

    def told(self) -> dict[str, object]:
        """What /status says about it."""
        return {
            "url": self.name,
            "reached": self.reached.is_set(),
            "version": self.server.version if self.server else None,
            "simulated": self.server.simulated if self.server else None,
            "jobs": dict(self.running),
        }
