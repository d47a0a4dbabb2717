"""Processes that die and come back: the service, and the simulated ComfyUI."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from comfygend.failpoints import Point
from tests.acceptance.harness import House, until

COMFYGEN = Path(sys.executable).with_name("comfygen")
FAILPOINTS = 0.3  # of the starts are armed


@dataclass
class Service:
    """One service, started again whenever it ends. One that ends by itself with another code than a kill is wrong."""

    house: House
    dice: random.Random
    armed: bool = True
    kills: int = 0
    starts: int = 0
    asked: bool = False
    wrong: list[str] = field(default_factory=list)

    async def keep(self) -> None:
        """Until cancelled; it is not killed then."""
        while True:
            environ = {}
            if self.armed and self.dice.random() < FAILPOINTS:
                environ["COMFYGEN_FAILPOINT"] = f"{self.dice.choice(list(Point))}:{self.dice.randint(1, 12)}"
            process = await self.house.start(**environ)
            self.starts += 1
            self.asked = False
            code = await process.wait()
            self.kills += code == -signal.SIGKILL
            if code not in ({0, -signal.SIGTERM, -signal.SIGKILL} if self.asked else {-signal.SIGKILL}):
                self.wrong.append(f"the service ended by itself with code {code}")
                await asyncio.sleep(1)

    def strike(self, number: signal.Signals) -> None:
        """Kill it, or tell it to stop."""
        process = self.house.running
        if process is not None and process.returncode is None:
            self.asked = number is not signal.SIGKILL
            process.send_signal(number)

    @property
    def memory(self) -> tuple[int, int]:
        """Its resident memory in kB, and how many files it has open."""
        assert self.house.running is not None
        place = Path(f"/proc/{self.house.running.pid}")
        found = re.search(r"VmRSS:\s+(\d+)", (place / "status").read_text())
        return int(found[1]) if found else 0, len(os.listdir(place / "fd"))  # noqa: PTH208


@dataclass
class ComfyUI:
    """The simulator in a process of its own, always on the same port; `log` counts its runs over all its lives."""

    folder: Path
    port: int = 0
    deaths: list[float] = field(default_factory=list)
    away: float = 0.0
    process: asyncio.subprocess.Process | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "comfyui.jsonl"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def keep(self) -> None:
        """Until cancelled."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        while True:
            words = ("simulator", "--port", str(self.port), "--log", str(self.log))
            with (self.folder / "comfyui.log").open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    COMFYGEN,
                    *words,
                    env={**os.environ, "TMPDIR": str(self.folder / "tmp")},
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                )
            assert self.process.stdout
            line = (await self.process.stdout.readline()).decode()
            self.port = int(line.rpartition(":")[2] or self.port)
            await self.process.wait()
            await asyncio.sleep(self.away)

    async def started(self) -> None:
        """It listens for the first time."""
        await until(lambda: self.port, "the simulator")

    def kill(self, away: float) -> None:
        """Kill it; it comes back after so many seconds."""
        self.away = away
        if self.process is not None and self.process.returncode is None:
            self.deaths.append(time.time())
            self.process.kill()

    async def restart(self) -> None:
        """What a restart of ComfyUI does, without the time it takes."""
        self.deaths.append(time.time())
        await self.ask("POST", "restart")

    async def ask(self, method: str, what: str, body: object = None) -> Any:
        """Ask its steering; one that is away is left alone."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as session,
                session.request(method, f"{self.url}/simulator/{what}", json=body) as response,
            ):
                return json.loads(await response.read() or b"null")
        except (aiohttp.ClientError, TimeoutError) as exc:
            self.errors.append(f"{what}: {exc}")

    async def heal(self) -> None:
        """No faults any more, whatever it takes."""
        while True:
            before = len(self.errors)
            await self.ask("DELETE", "faults")
            if len(self.errors) == before:
                return
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
