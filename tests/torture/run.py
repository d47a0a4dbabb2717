"""Run: everything is set up, tortured, healed, waited for, stopped and looked at."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfygen.images import png_bytes
from tests.acceptance.harness import COMFYGEND, House
from tests.minio_double.process import RemoteDouble, double_process
from tests.torture.journal import read_journal
from tests.torture.orders import PICTURE, Order, make_order
from tests.torture.places import BUCKET, Both, Remote, Yard
from tests.torture.processes import ComfyUI, Service
from tests.torture.verdict import Facts, Row
from tests.torture.weather import Weather

LIMITS = (
    "settle_seconds: 0.2, rescan_seconds: 1, reconcile_seconds: 5, stall_seconds: 3, claim_lease_seconds: 6, "
    "attempts: 30"
)
LOOK = 0.5
STUCK = 120.0  # so long without any progress, after all was healed: it will never come
CALM = 0.95  # of the orders have ended: the sky clears


@dataclass
class Stage:
    """Everything that runs, and what was dropped."""

    places: Yard | Remote
    services: list[Service]
    comfyuis: list[ComfyUI]
    weather: Weather
    seed: int
    orders: list[Order] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def drop(self, orders: Iterable[Order], *, most: int | None = None) -> None:
        """Drop orders, at full speed, or so that not more than `most` are on their way."""
        for order in orders:
            while most is not None and len(self.orders) - await self.ended() >= most:
                await asyncio.sleep(LOOK)
            await self.places.deliver(order.name, order.text.encode())
            self.orders.append(order)

    def more(self) -> Iterable[Order]:
        """Orders without an end."""
        return (make_order(n, self.seed) for n in itertools.count(len(self.orders)))

    async def ended(self) -> int:
        return await asyncio.to_thread(self.places.ended)

    async def until_ended(self, share: float, *, patience: float = STUCK) -> bool:
        """Wait until so many orders have ended; False when nothing moves any more."""
        best, since = -1, time.monotonic()
        while (ended := await self.ended()) < share * len(self.orders):
            if ended > best:
                best, since = ended, time.monotonic()
            if time.monotonic() - since > patience:
                return False
            await asyncio.sleep(LOOK)
        return True

    async def left(self) -> list[str]:
        """What lies where nothing should lie when all is done."""
        found = [name for service in self.services for name in await asyncio.to_thread(service.house.left)]
        claims = await asyncio.to_thread(self.places.claims) if isinstance(self.places, Remote) else []
        return sorted({name for name in found if name != PICTURE} | set(claims))

    async def until_quiet(self) -> None:
        """Wait until nothing is left, and every index has a row for every output; not for ever."""
        end = time.monotonic() + STUCK
        while time.monotonic() < end:
            with suppress(sqlite3.OperationalError):
                outputs = sum(not key.endswith(".json") for key in await asyncio.to_thread(self.places.objects))
                rows = [len(generations(service.house)) for service in self.services]
                if not await self.left() and set(rows) == {outputs}:
                    return
            await asyncio.sleep(2 * LOOK)

    async def halt(self) -> None:
        """End the services as a person does, and keep them ended."""
        codes = []
        for service, task in zip(self.services, self.tasks, strict=False):
            task.cancel()
            codes.append((service, await service.house.stop(signal.SIGTERM)))
        for service, code in codes:
            service.wrong += [f"the last stop ended with code {code}"] if code not in {0, -signal.SIGTERM} else []

    async def facts(self) -> Facts:
        """Everything there is, after the halt."""
        rows = [generations(service.house) for service in self.services]
        for service in self.services:
            await reindex(service)
        prompts = {prompt: job for service in self.services for prompt, job in _attempts(service.house)}
        runs, deaths, strangers = read_journal([comfyui.log for comfyui in self.comfyuis], prompts)
        return Facts(
            orders=self.orders,
            requests=await asyncio.to_thread(self.places.requests),
            objects=await asyncio.to_thread(self.places.objects),
            rows=rows,
            again=[generations(service.house) for service in self.services],
            runs=runs,
            deaths=[*deaths, *(death for comfyui in self.comfyuis for death in comfyui.deaths)],
            taken_over=frozenset(request for service in self.services for request in _taken_over(service.house)),
            strangers=strangers,
            left=await self.left(),
            wrong=[what for service in self.services for what in service.wrong],
        )


def generations(house: House) -> list[Row]:
    """The rows of an index. Where they were read from, and when, is not part of what was made."""
    return _rows(house, "index.db", "SELECT * FROM generations ORDER BY key")


def _rows(house: House, database: str, sql: str) -> list[Row]:
    path = house.folder / "state" / database
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def _attempts(house: House) -> list[tuple[str, str]]:
    return [(row["prompt_id"], row["job_id"]) for row in _rows(house, "queue.db", "SELECT * FROM attempts")]


def _taken_over(house: House) -> list[str]:
    sql = "SELECT id FROM requests WHERE inherited OR (state = 'cancelled' AND error IS NULL)"
    return [row["id"] for row in _rows(house, "queue.db", sql)]


async def reindex(service: Service) -> None:
    """Make an index anew."""
    words = (COMFYGEND, "--config", service.house.config, "--reindex")
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    service.wrong += [f"--reindex: {told.decode()}"] if process.returncode else []


@asynccontextmanager
async def stage(
    folder: Path, *, seed: int, kind: str, services: int, comfyuis: int, killing: bool
) -> AsyncIterator[Stage]:
    """Everything started, and weather that does not blow yet; whatever runs is killed at the end."""
    async with AsyncExitStack() as stack:
        dice = random.Random(seed)
        servers = [await stack.enter_async_context(kept_alive(folder / f"comfyui-{n}")) for n in range(1, comfyuis + 1)]
        urls = "\n  - url: ".join(server.url for server in servers)
        double = None if kind == "folder" else await stack.enter_async_context(double_process(BUCKET))
        places = _places(folder, kind, double)
        homes = [
            House(folder / f"service-{n}" if services > 1 else folder, urls, places, limits=LIMITS)
            for n in range(1, services + 1)
        ]
        kept = [Service(home, random.Random(dice.random()), armed=killing) for home in homes]
        weather = Weather(kept, servers, double, random.Random(dice.random()), killing=killing)
        made = Stage(places=places, services=kept, comfyuis=servers, weather=weather, seed=seed)
        await places.deliver(PICTURE, png_bytes(bytes((70, 130, 180)) * (96 * 64), 96, 64))
        if isinstance(places, Both):
            await places.deliver(PICTURE, png_bytes(bytes((70, 130, 180)) * (96 * 64), 96, 64))
        made.tasks = [asyncio.create_task(service.keep(), name="service") for service in kept]
        try:
            yield made
        finally:
            for service, task in zip(kept, made.tasks, strict=True):
                task.cancel()
                service.strike(signal.SIGKILL)


@asynccontextmanager
async def kept_alive(folder: Path) -> AsyncIterator[ComfyUI]:
    """A simulated ComfyUI that comes back whenever it dies."""
    folder.mkdir(exist_ok=True)
    comfyui = ComfyUI(folder)
    keeper = asyncio.create_task(comfyui.keep(), name="comfyui")
    try:
        await comfyui.started()
        yield comfyui
    finally:
        keeper.cancel()
        await comfyui.stop()


def _places(folder: Path, kind: str, double: RemoteDouble | None) -> Yard | Remote:
    if double is None:
        return Yard(folder)
    if kind == "mixed":
        return Both(double.endpoint, folder="  - folder: ./requests\n", yard=Yard(folder))
    return Remote(double.endpoint)


def told(stage: Stage) -> dict[str, Any]:
    """Figures of what was done to everybody."""
    return {
        "service kills": sum(service.kills for service in stage.services),
        "service starts": sum(service.starts for service in stage.services),
        "comfyui deaths": sum(len(comfyui.deaths) for comfyui in stage.comfyuis),
        "weather": dict(sorted(stage.weather.done.items())),
    }
