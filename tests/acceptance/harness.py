"""Running the installed service as a process against a simulator in the test's own loop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from comfygen.simulator import Simulator
from tests.minio_double import MinioDouble

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


class Places(Protocol):
    """Where a house keeps requests and outputs: a folder or a bucket, looked at without the service."""

    @property
    def config(self) -> str:
        """The inbox and store of a configuration file."""
        ...

    def drop(self, name: str, content: bytes) -> None: ...

    def requests(self) -> dict[str, bytes]:
        """Everything in the inbox, `done/` and `failed/` included, by name."""
        ...

    def objects(self) -> dict[str, bytes]:
        """Everything in the store by key, without requests and the store's own objects."""
        ...


@dataclass
class Folders:
    """Requests and outputs in folders."""

    folder: Path

    @property
    def config(self) -> str:
        return "inbox:\n  - folder: ./requests\nstore:\n  folder: ./outputs\n"

    def drop(self, name: str, content: bytes) -> None:
        """As a careful program does: written elsewhere, moved in."""
        (self.folder / "requests").mkdir(exist_ok=True)
        part = self.folder / "requests" / f".{name}.part"
        part.write_bytes(content)
        part.rename(self.folder / "requests" / name)

    def requests(self) -> dict[str, bytes]:
        found = self._files(self.folder / "requests")
        return {name: content for name, content in found.items() if name != ".comfygen-inbox"}

    def objects(self) -> dict[str, bytes]:
        return {k: v for k, v in self._files(self.folder / "outputs").items() if not k.startswith(".comfygen/")}

    def _files(self, folder: Path) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError, IsADirectoryError):  # the service renames files while we look
                if path.is_file() and not path.name.endswith(".part"):
                    found[str(path.relative_to(folder))] = path.read_bytes()
        return found


@dataclass
class Buckets:
    """Requests and outputs in one bucket of a double, in this process."""

    double: MinioDouble
    bucket: str = "comfy-gen"

    @property
    def config(self) -> str:
        return (
            f"inbox:\n  - prefix: requests/\nstore:\n  endpoint: {self.double.endpoint}\n  bucket: {self.bucket}\n"
            f"  access_key: {self.double.access_key}\n  secret_key: {self.double.secret_key}\n"
        )

    def drop(self, name: str, content: bytes) -> None:
        key = f"requests/{name}"
        self.double.state.storage.put(self.bucket, key, content, {"content-type": "application/yaml"})
        self.double.knobs.emit("s3:ObjectCreated:Put", self.bucket, key)

    def requests(self) -> dict[str, bytes]:
        found = self._all()
        return {k.removeprefix("requests/"): v for k, v in found.items() if k.startswith("requests/")}

    def objects(self) -> dict[str, bytes]:
        return {k: v for k, v in self._all().items() if not k.startswith(("requests/", ".comfygen/"))}

    def claims(self) -> list[str]:
        """Claims that lie in the bucket."""
        return [key for key in self._all() if key.startswith(".comfygen/claims/")]

    def _all(self) -> dict[str, bytes]:
        storage = self.double.state.storage
        return {key: storage.body(self.bucket, key) for key in storage.names(self.bucket)}


@dataclass
class House:
    """A folder with a configuration of its own, and the service that works there."""

    folder: Path
    comfyui: str
    places: Places
    extra: str = ""
    limits: str = "settle_seconds: 0.2, rescan_seconds: 1"
    environ: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()  # a command that runs the service, setpriv for one
    running: asyncio.subprocess.Process | None = None
    started: ClassVar[list[asyncio.subprocess.Process]] = []

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = (
            f"state_dir: ./state\n{self.places.config}comfyui:\n  - url: {self.comfyui}\nhttp: 127.0.0.1:0\n"
            f"limits: {{{self.limits}}}\n{self.extra}"
        )
        self.config.write_text(text, encoding="utf-8")

    @property
    def config(self) -> Path:
        return self.folder / "comfygen.yaml"

    def drop(self, name: str, text: str | bytes = REQUEST) -> None:
        """Drop a request into the inbox."""
        self.places.drop(name, text.encode() if isinstance(text, str) else text)

    async def once(self, **environ: str) -> int:
        """`comfygend --once`; its exit code."""
        process = await self.start("--once", **environ)
        async with asyncio.timeout(GUARD):
            return await process.wait()

    async def start(self, *words: str, **environ: str) -> asyncio.subprocess.Process:
        """Start `comfygend`, its log in `log`."""
        clean = {name: text for name, text in os.environ.items() if not name.startswith("COMFYGEN_")}
        with (self.folder / "log").open("ab") as log:
            everything: list[str | Path] = [*self.before, COMFYGEND, "--config", self.config, *words]
            self.running = await asyncio.create_subprocess_exec(
                *everything, env=clean | self.environ | environ, stdout=log, stderr=log
            )
        self.started.append(self.running)
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
        found = {name: content for name, content in self.places.requests().items() if name.endswith(suffix)}
        mine = {name: content for name, content in found.items() if name.startswith(f"{place}/")}
        return {n.removeprefix(f"{place}/").removesuffix(suffix): json.loads(c) for n, c in sorted(mine.items())}

    def stored(self) -> list[str]:
        """The keys of the store."""
        return sorted(self.places.objects())

    def rows(
        self, sql: str = "SELECT * FROM generations ORDER BY key", database: str = "index.db"
    ) -> list[tuple[Any, ...]]:
        """Rows of a database, read as Datasette does: read-only."""
        path = self.folder / "state" / database
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(sql).fetchall()

    def left(self) -> list[str]:
        """What is still in the inbox, in work/ and in the spool: nothing, when all is done."""
        waiting = [name for name in self.places.requests() if not name.startswith(("done/", "failed/"))]
        spools = (self.folder / "state" / "spool", self.folder / "state" / "inputs")
        files = [path.name for place in spools if place.is_dir() for path in place.iterdir()]
        return sorted(waiting + files)


@asynccontextmanager
async def house(folder: Path, kind: str = "folder", **simulated: Any) -> AsyncIterator[tuple[House, Simulator]]:
    """A house with a simulated ComfyUI, with folders or a bucket; whatever runs is killed at the end."""
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(**simulated))
        places: Places = Folders(folder)
        if kind == "bucket":
            double = await stack.enter_async_context(MinioDouble())
            await double.knobs.make_bucket("comfy-gen")
            places = Buckets(double)
        made = House(folder, simulator.url, places)
        try:
            yield made, simulator
        finally:
            while House.started:  # those of other houses in the same test too
                process = House.started.pop()
                if process.returncode is None:
                    process.kill()
                    await process.wait()
