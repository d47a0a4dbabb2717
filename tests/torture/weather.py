"""Weather: what goes wrong, at random moments, chosen by a seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import aiohttp

from tests.minio_double.process import RemoteDouble
from tests.torture.processes import ComfyUI, Service

Action: TypeAlias = Callable[[], Awaitable[None]]
FAULTS: tuple[tuple[str, float], ...] = (
    ("oom", 0),
    ("execution_error", 0),
    ("lost_ack", 0),
    ("view_404", 0),
    ("truncated_view", 0),
    ("cached_empty", 0),
    ("websocket_silent", 0),
    ("duplicate_events", 0),
    ("missing_events", 0),
    ("late_history", 0.5),
    ("slow", 0.5),
    ("stall", 0),
    ("lose_queue", 0),
    ("refuse_connections", 0),
)
KEYS = ("2*", "*.json", ".comfygen/*", "requests/done/*", "requests/failed/*")  # never the dropped ones themselves


@dataclass
class Weather:
    """Does one thing after the other. `killing`: the service is killed, too."""

    services: Sequence[Service]
    comfyuis: Sequence[ComfyUI]
    double: RemoteDouble | None
    dice: random.Random
    killing: bool = True
    pace: float = 1.0
    done: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Until cancelled."""
        actions: list[tuple[Action, int]] = [(self._fault, 10), (self._kill_comfyui, 1), (self._restart_comfyui, 1)]
        if self.killing:
            actions += [(self._kill, 5), (self._stop, 1)]
        if self.double is not None:
            actions += [(self._events, 3), (self._requests, 5), (self._outage, 1)]
        while True:
            await asyncio.sleep(self.dice.uniform(0.1, 1.2) * self.pace)
            action = self.dice.choices([action for action, _ in actions], [weight for _, weight in actions])[0]
            await action()

    async def _fault(self) -> None:
        """One of a kind at a time: so many broken downloads of one file would be a file that is gone."""
        (kind, seconds), comfyui = self.dice.choice(FAULTS), self._comfyui()
        known = await comfyui.ask("GET", "faults")
        if known is None or kind in {fault["kind"] for fault in known["faults"]}:
            return
        self.done[kind] += 1
        fault = {"kind": kind, "times": self.dice.randint(1, 3) if kind == "refuse_connections" else 1}
        await comfyui.ask("POST", "faults", fault | ({"seconds": seconds} if seconds else {}))

    def _comfyui(self) -> ComfyUI:
        return self.dice.choice(self.comfyuis)

    async def _kill_comfyui(self) -> None:
        self.done["comfyui killed"] += 1
        self._comfyui().kill(self.dice.choice((0.0, 0.3, 1.5)))

    async def _restart_comfyui(self) -> None:
        self.done["comfyui restarted"] += 1
        await self._comfyui().restart()

    async def _kill(self) -> None:
        self.done["service killed"] += 1
        self.dice.choice(self.services).strike(signal.SIGKILL)

    async def _stop(self) -> None:
        self.done["service stopped"] += 1
        self.dice.choice(self.services).strike(signal.SIGTERM)

    async def _events(self) -> None:
        name = self.dice.choice(("drop_next_events", "duplicate", "reorder", "cut"))
        await self._knob(name, **({} if name == "cut" else {"n": self.dice.randint(1, 5)}))

    async def _requests(self) -> None:
        key, method = self.dice.choice(KEYS), self.dice.choice(("Put*", "Get*", "Head*", "Copy*", "Delete*", "*"))
        match self.dice.choice(("503", "abort", "lost_ack", "list")):
            case "lost_ack":
                await self._knob("lost_ack", key=key, times=self.dice.randint(1, 2))
            case "list":
                await self._knob("status_sequence", answers=[503, 503], method="List*")
            case answer:
                answers = [int(answer) if answer.isdigit() else answer] * self.dice.randint(1, 4)
                await self._knob("status_sequence", answers=answers, method=method, key=key)

    async def _outage(self) -> None:
        await self._knob("restart", seconds=self.dice.choice((0.0, 0.5, 2.0)))

    async def _knob(self, name: str, **arguments: object) -> None:
        assert self.double is not None
        self.done[f"store {name}"] += 1
        await self._turn(name, **arguments)

    async def _turn(self, name: str, **arguments: object) -> None:
        """Turn a knob, as soon as the double can be reached."""
        assert self.double is not None
        while True:
            try:
                await self.double.knob(name, **arguments)
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
            else:
                return

    async def heal(self) -> None:
        """Everything works from here on."""
        for service in self.services:
            service.armed = False
        for comfyui in self.comfyuis:
            comfyui.away = 0.0
            await comfyui.heal()
        if self.double is not None:
            await self._turn("healthy")
