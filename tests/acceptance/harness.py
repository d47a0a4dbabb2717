"""Running the installed service as a process against a simulator in the test's own loop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfygen.simulator import Simulator

GUARD = 90.0
LOOK = 0.03
REQUEST = "workflow: flux-dev\nprompt: a mountain lake at dawn\nwidth: 64\nheight: 64\nsteps: 2\n"
COMFYGEND = Path(sys.executable).with_name("comfygend")


async def until(ready: Callable[[], Any], what: str = "it") -> Any:
    """Wait for a condition, and give its value. A test that waits for longer than the guard fails."""
    async with asyncio.timeout(GUARD):
        while not (value := ready()):
            await asyncio.sleep(LOOK)
    return value


@dataclass
class House:
    """A folder with a configuration of its own, and the service that works there."""

    folder: Path
    comfyui: str
    extra: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    running: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.inbox.mkdir(exist_ok=True)
        text = (
            f"state_dir: ./state\ninbox:\n  - folder: ./requests\nstore:\n  folder: ./outputs\n"
            f"comfyui:\n  - url: {self.comfyui}\nhttp: 127.0.0.1:0\n"
            f"limits: {{settle_seconds: 0.2, rescan_seconds: 1}}\n{self.extra}"
        )
        self.config.write_text(text, encoding="utf-8")

    @property
    def config(self) -> Path:
        return self.folder / "comfygen.yaml"

    @property
    def inbox(self) -> Path:
        return self.folder / "requests"

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    def drop(self, name: str, text: str | bytes = REQUEST) -> None:
        """Drop a request as a careful program does: written elsewhere, moved in."""
        part = self.inbox / f".{name}.part"
        part.write_bytes(text.encode() if isinstance(text, str) else text)
        part.rename(self.inbox / name)

    async def once(self, **environ: str) -> int:
        """`comfygend --once`; its exit code."""
        process = await self.start("--once", **environ)
        async with asyncio.timeout(GUARD):
            return await process.wait()

    async def start(self, *words: str, **environ: str) -> asyncio.subprocess.Process:
        """Start `comfygend`, its log in `log`."""
        clean = {name: text for name, text in os.environ.items() if not name.startswith("COMFYGEN_")}
        with (self.folder / "log").open("ab") as log:
            self.running = await asyncio.create_subprocess_exec(
                COMFYGEND, "--config", self.config, *words, env=clean | self.environ | environ, stdout=log, stderr=log
            )
        return self.running

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the service with a signal; its exit code."""
        assert self.running is not None
        if self.running.returncode is None:
            self.running.send_signal(number)
        async with asyncio.timeout(GUARD):
            return await self.running.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def reports(self, place: str = "done") -> dict[str, dict[str, Any]]:
        """What was written beside the requests that have ended, by the names of their files."""
        suffix = ".result.json" if place == "done" else ".error.json"
        folder = self.inbox / place
        return {
            path.name.removesuffix(suffix): json.loads(path.read_bytes()) for path in sorted(folder.glob(f"*{suffix}"))
        }

    def stored(self) -> list[str]:
        """Every file of the store, by its key."""
        files = (path for path in self.outputs.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.outputs)) for path in files if ".comfygen" not in path.parts)

    def rows(
        self, sql: str = "SELECT * FROM generations ORDER BY key", database: str = "index.db"
    ) -> list[tuple[Any, ...]]:
        """Rows of a database, read as Datasette does: read-only."""
        path = self.folder / "state" / database
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(sql).fetchall()

    def left(self) -> list[str]:
        """What is still in the inbox, in work/ and in the spool: nothing, when all is done."""
        places = (self.inbox, self.inbox / "work", self.folder / "state" / "spool", self.folder / "state" / "inputs")
        files = (path for place in places if place.is_dir() for path in place.iterdir())
        return sorted(path.name for path in files if path.name not in {"work", "done", "failed", ".comfygen-inbox"})


@asynccontextmanager
async def house(folder: Path, **simulated: Any) -> AsyncIterator[tuple[House, Simulator]]:
    """A house with a simulated ComfyUI; whatever runs is killed at the end."""
    async with Simulator(**simulated) as simulator:
        made = House(folder, simulator.url)
        try:
            yield made, simulator
        finally:
            if made.running is not None and made.running.returncode is None:
                made.running.kill()
                await made.running.wait()
