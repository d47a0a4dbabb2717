"""A clock that moves when it is told to, and a bucket in memory that speaks or keeps silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from comfygen.errors import StoreError
from comfygen.events import BucketEvent
from comfygen.minio_client import Listening, ListenSettings, Notifications, StoreSettings, Timing
from comfygen.store import Change, Hint, Stored

START = datetime(2026, 1, 4, 1, 10, 32, tzinfo=UTC)
EVERYTHING = Hint(change=Change.RECONCILE)
TURNS = 60  # of the event loop: more than any chain of tasks here needs


async def settle() -> None:
    """Let every task run as far as it can without time passing."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that something real brings about."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


class FakeTime:
    """Seconds that pass only in `advance`; chance that is always at its upper end."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.timing = Timing(clock=lambda: self.seconds, now=self.now, sleep=self.sleep, random=lambda: 1.0)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        sleeper = (self.seconds + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its own moment."""
        end = self.seconds + seconds
        await settle()
        while due := [sleeper for sleeper in self._sleepers if sleeper[0] <= end and not sleeper[1].done()]:
            moment, future = min(due, key=lambda sleeper: sleeper[0])
            self.seconds = max(self.seconds, moment)
            future.set_result(None)
            await settle()
        self.seconds = end


class FakeBucket:
    """A store in memory. What is put is told to open streams, unless it is `deaf`; `refusals` meet the next listens."""

    def __init__(self, prefix: str = "") -> None:
        self.settings = StoreSettings(endpoint="http://127.0.0.1:9000", bucket="bucket", prefix=prefix)
        self.objects: dict[str, Stored] = {}
        self.refusals: list[Exception] = []
        self.muffled = self.deaf = False
        self.put_error: StoreError | None = None
        self.list_error: StoreError | None = None
        self.listens = self.lists = 0
        self.told: Callable[[BucketEvent], None] = lambda event: None
        self._streams: list[asyncio.Queue[tuple[BucketEvent, ...] | StoreError]] = []

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        if self.put_error:
            raise self.put_error
        self.write(key)
        return self.objects[key]

    def write(self, key: str, name: str = "s3:ObjectCreated:Put") -> None:
        etag = f"e{len(self.objects)}-{self.lists}"
        self.objects[key] = Stored(key=key, etag=etag, size=1)
        self.tell(key, name)

    def remove(self, key: str) -> None:
        del self.objects[key]
        self.tell(key, "s3:ObjectRemoved:Delete")

    def tell(self, key: str, name: str = "s3:ObjectCreated:Put", bucket: str = "bucket") -> None:
        whole = self.settings.prefix + key
        event = BucketEvent(bucket=bucket, key=whole, name=name, removed="Created" not in name)
        if not self.deaf:
            self.told(event)
            self.send((event,))

    def send(self, item: tuple[BucketEvent, ...] | StoreError) -> None:
        """A chunk for every open stream: events, () for a ping, an error for its end."""
        for stream in self._streams:
            stream.put_nowait(item)

    async def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Stored]:
        self.lists += 1
        for key in sorted(self.objects):
            if self.list_error:
                raise self.list_error
            if key.startswith(prefix) and key > start_after:
                yield self.objects[key]

    async def list_direct(self, prefix: str = "") -> AsyncIterator[Stored]:
        async for item in self.list(prefix):
            if "/" not in item.key.removeprefix(prefix):
                yield item

    @asynccontextmanager
    async def open_stream(self, settings: ListenSettings) -> AsyncIterator[AsyncIterator[tuple[BucketEvent, ...]]]:
        self.listens += 1
        if self.refusals:
            raise self.refusals.pop(0)
        stream: asyncio.Queue[tuple[BucketEvent, ...] | StoreError] = asyncio.Queue()
        if self.muffled:
            await stream.get()
        self._streams.append(stream)
        stream.put_nowait(())
        try:
            yield _items(stream)
        finally:
            self._streams.remove(stream)


async def _items(
    stream: asyncio.Queue[tuple[BucketEvent, ...] | StoreError],
) -> AsyncIterator[tuple[BucketEvent, ...]]:
    while True:
        item = await stream.get()
        if isinstance(item, StoreError):
            raise item
        yield item


class Ears:
    """A subscription under test, with all that it gave so far."""

    def __init__(self, bucket: FakeBucket, time: FakeTime, prefix: str = "", **settings: object) -> None:
        self.bucket, self.time, self.hints = bucket, time, list[Hint]()
        self.listening = ListenSettings(identity="box", **settings)  # type: ignore[arg-type]
        self.notifications = Notifications(bucket, prefix=prefix, settings=self.listening, timing=time.timing)

    @property
    def state(self) -> Listening:
        return self.notifications.state.state

    @asynccontextmanager
    async def open(self, seconds: float = 0) -> AsyncIterator[None]:
        """Enter, for which so many seconds must pass, and take note of what comes."""

        async def take() -> None:
            async with self.notifications.run() as hints:
                entered.set()
                async for hint in hints:
                    self.hints.append(hint)

        entered = asyncio.Event()
        task = asyncio.create_task(take())
        await self.time.advance(seconds)
        assert entered.is_set()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def ping_for(self, seconds: int) -> None:
        """Let time pass on a stream that is alive."""
        for _ in range(0, seconds, 2):
            self.bucket.send(())
            await self.time.advance(2)
