"""Bucket inboxes at work on a double of MinIO, for as long as a test needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from comfygen.store import Change, Hint
from comfygend.inbox import Ending, InboxItem
from comfygend.inbox.bucket import BucketInbox
from comfygend.ledger import Arrival, RequestRow, RequestState
from tests import making
from tests.integration.minio_stage import BUCKET, Stage, set_stage, until

PREFIX = "requests/"
LEASE = 60.0
QUICK = 0.06  # a lease that is renewed every 20 ms


@asynccontextmanager
async def silence() -> AsyncIterator[AsyncIterator[Hint]]:
    """Notifications of a server that has nothing to say."""
    yield _nothing()


async def _nothing() -> AsyncIterator[Hint]:
    await asyncio.Event().wait()
    yield Hint(change=Change.RECONCILE)


@dataclass
class Desk:
    """A running inbox, and what it has handed over and lost so far."""

    inbox: BucketInbox
    items: list[InboxItem] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return sorted(item.arrival.name for item in self.items)

    async def take(self) -> None:
        """Take whatever the inbox finds, until cancelled."""
        async for item in self.inbox.items():
            self.bodies[str(item.arrival.id)] = item.arrival.body
            self.items.append(item)

    async def has(self, count: int) -> list[InboxItem]:
        """Wait until so many items were handed over."""
        await until(lambda: len(self.items) >= count)
        return self.items

    async def looked(self) -> None:
        """Wait until the inbox has looked at everything once more, from the beginning to the end."""
        looks = self.inbox.looks
        await until(lambda: self.inbox.looks >= looks + 2)


@dataclass
class Letterbox:
    """A bucket with requests in it."""

    stage: Stage
    group: asyncio.TaskGroup
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def put(self, name: str, body: bytes = making.TEXT) -> str:
        """Put a request object, as a foreign program does; its etag."""
        return await self.stage.plain(PREFIX + name, body)

    async def under(self, folder: str = "") -> list[str]:
        """The names below a folder of the prefix."""
        place = PREFIX + folder
        return [key.removeprefix(place) for key in await self.stage.keys(place)]

    async def claims(self) -> list[str]:
        """The requests that somebody has claimed."""
        folder = ".comfygen/claims/"
        return [key.removeprefix(folder).removesuffix(".json") for key in await self.stage.keys(folder)]

    async def text(self, key: str) -> bytes:
        return (await self.stage.store.get(PREFIX + key))[0]

    def desk(self, owner: str = "one", **settings: Any) -> Desk:
        """An inbox that does nothing yet; it has a look at the bucket every 10 ms once it does."""

        async def body_of(request: str) -> bytes:
            return made.bodies.get(request, b"")

        async def on_lost(request: str) -> None:
            made.lost.append(request)

        plain: dict[str, Any] = {"lease": LEASE, "rescan_seconds": 0.01, "listen": silence}
        settings = plain | settings
        inbox = BucketInbox(self.stage.store, PREFIX, owner=owner, body_of=body_of, on_lost=on_lost, **settings)
        made = Desk(inbox=inbox)
        return made

    def open(self, owner: str = "one", **settings: Any) -> Desk:
        """An inbox at work until the test ends."""
        made = self.desk(owner, **settings)
        self.start(made.take())
        return made

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something run beside the test; if it fails, so does the test."""
        self.tasks.append(self.group.create_task(work))

    def restore(self, name: str, body: bytes, modified: datetime) -> None:
        """Lay an object there as if it had never been gone."""
        storage = self.stage.double.state.storage
        storage.put(BUCKET, PREFIX + name, body, {})
        kept: Any = storage._find(BUCKET, PREFIX + name)
        kept.last_modified = modified.replace(tzinfo=None)


@asynccontextmanager
async def letterbox() -> AsyncIterator[Letterbox]:
    async with set_stage(prefix="", attempts=1) as stage, asyncio.TaskGroup() as group:
        made = Letterbox(stage=stage, group=group)
        yield made
        for task in made.tasks:
            task.cancel()


def ending(item: InboxItem, *, ok: bool = True, **more: Any) -> Ending:
    """How an item ended."""
    arrival = item.arrival
    report = {"request": arrival.id, "status": "done" if ok else "failed"}
    fixed: dict[str, Any] = {"request_id": arrival.id, "name": arrival.name, "identity": arrival.identity}
    return Ending(ok=ok, report=report, **fixed, **more)


def row(arrival: Arrival, *, ended: bool = False) -> RequestRow:
    """What the ledger has of an item after a restart."""
    now = datetime.now(UTC)
    return RequestRow(
        id=str(arrival.id),
        inbox=arrival.inbox,
        name=arrival.name,
        identity=arrival.identity,
        sha256=arrival.sha256,
        state=RequestState.DONE if ended else RequestState.ACCEPTED,
        claimed=True,
        filed=False,
        inherited=arrival.inherited,
        stamp=arrival.stamp or now,
        received_at=now.isoformat(),
        ended_at=now.isoformat() if ended else None,
        error=None,
        notes=(),
    )
