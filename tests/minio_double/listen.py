"""Listen: ListenBucketNotification, the endless response, and everything that can be wrong with one."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from tests.minio_double.answers import Refusal
from tests.minio_double.calls import Call
from tests.minio_double.faults import Faults
from tests.minio_double.pubsub import Pubsub, Subscription, literal, wildcard
from tests.minio_double.records import Dialect, Happening, Source, expand, go_json, record
from tests.minio_double.rules import has_dots
from tests.minio_double.state import State

BLANK = 0.5  # without `ping`, MinIO sends a blank every half second
CHUNK = 2016  # what is flushed at once goes in chunks of at most this
MUFFLE = 2 * CHUNK  # a muffled stream holds back this much
EVENT_STREAM = {"Cache-Control": "no-cache", "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a listener asked for."""

    types: frozenset[str]
    bucket: str
    fits: Callable[[str], bool]
    ping: int | None
    gzip: bool


def read_request(state: State, call: Call) -> Request:
    """Validate in MinIO's order: filters, event names, the bucket, and `ping` last; raises Refusal."""
    chosen = {name: _filter(call, name) for name in ("prefix", "suffix")}
    types = frozenset[str]().union(*(expand(name) for name in call.args("events")))
    if call.bucket:
        state.storage.bucket(call.bucket)
    dialect = state.faults.dialect
    ping = None if dialect is Dialect.OLD else _ping(call.arg("ping"))
    fits = literal if dialect is Dialect.RUSTFS else wildcard
    gzip = "gzip" in call.headers.get("Accept-Encoding", "")
    return Request(types=types, bucket=call.bucket, fits=fits(**chosen), ping=ping, gzip=gzip)


def _filter(call: Call, name: str) -> str:
    if len(call.args(name)) > 1:
        raise Refusal("InvalidArgument", f"Cannot specify more than one {name} rule in a filter.")
    value = call.arg(name)
    if len(value.encode("utf-8", "replace")) > 1024 or "\\" in value or "\ufffd" in value or has_dots(value):
        raise Refusal("InvalidArgument", "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation")
    return value


def _ping(text: str) -> int | None:
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise Refusal("AuthorizationQueryParametersError", headers=_REFUSED)
    return int(text)


_REFUSED = {name: value for name, value in EVENT_STREAM.items() if name != "Content-Type"}


class Cut(Exception):
    """The stream has to end here, in the middle of whatever it was saying."""


@dataclass(kw_only=True)
class Stream:
    """One listener's response: headers leave with the first byte, one chunk per flush."""

    http: web.BaseRequest
    response: web.StreamResponse
    request: Request
    faults: Faults
    subscription: Subscription
    _held: bytearray = field(default_factory=bytearray)
    _squeeze: zlib._Compress | None = None

    async def run(self) -> None:
        """Write until the client leaves or a knob cuts the stream."""
        loop = asyncio.get_running_loop()
        interval = self.request.ping or BLANK
        due = loop.time() + interval
        if self.faults.dialect is Dialect.RUSTFS:
            await self._open()
        while True:
            try:
                async with asyncio.timeout_at(due):
                    line = self._lines(await self.subscription.queue.get())
            except TimeoutError:
                due += interval
                line = self._quiet()
            await self._write(line)

    def _quiet(self) -> bytes:
        """What is said when there is nothing to say."""
        if self.request.ping is None:
            return b" "
        return go_json({"Records": [] if self.faults.dialect is Dialect.RUSTFS else None}) + b"\n"

    def _lines(self, item: tuple[Happening, Source] | bytes) -> bytes:
        """This event and all that wait behind it: MinIO flushes when its queue is empty."""
        lines = [self._line(item)]
        while not self.subscription.queue.empty():
            lines.append(self._line(self.subscription.queue.get_nowait()))
        return b"".join(lines)

    def _line(self, item: tuple[Happening, Source] | bytes) -> bytes:
        if isinstance(item, bytes):
            return item
        dialect = self.faults.dialect
        return go_json({"Records": [record(*item, dialect=dialect, escaped=dialect is Dialect.RUSTFS)]}) + b"\n"

    async def _write(self, line: bytes) -> None:
        while self.faults.stalled:
            await self.faults.changed.wait()
        if self.subscription.silent:
            return
        self._held += line
        for piece in self._released():
            await self._open()
            if self.faults.cuts and self.subscription.budget <= len(piece):
                self.faults.cuts -= 1
                await self._send(piece[: self.subscription.budget])
                raise Cut
            self.subscription.budget -= len(piece)
            await self._send(piece)

    def _released(self) -> list[bytes]:
        """The chunks that go out now, lines cut or not: all there is, or, when muffled, whole ones of 4 kB and more."""
        size = len(self._held)
        if self.faults.muffled:
            size = size // CHUNK * CHUNK if size >= MUFFLE else 0
        pieces = [bytes(self._held[at : min(size, at + CHUNK)]) for at in range(0, size, CHUNK)]
        del self._held[:size]
        return pieces

    async def _open(self) -> None:
        if self.response.prepared:
            return
        if self.faults.headers_delay:
            await asyncio.sleep(self.faults.headers_delay)
        if self.request.gzip:
            self._squeeze = zlib.compressobj(wbits=31)
            self.response.headers["Content-Encoding"] = "gzip"
        await self.response.prepare(self.http)

    async def _send(self, data: bytes) -> None:
        if self._squeeze:
            data = self._squeeze.compress(data) + self._squeeze.flush(zlib.Z_SYNC_FLUSH)
        if data:
            await self.response.write(data)


async def serve(
    http: web.BaseRequest, response: web.StreamResponse, request: Request, *, state: State, pubsub: Pubsub
) -> web.StreamResponse:
    """Subscribe, and stream until the connection is gone."""
    faults = state.faults
    subscription = Subscription(
        types=request.types,
        bucket=request.bucket,
        fits=request.fits,
        queue=asyncio.Queue(faults.queue_capacity),
        budget=faults.cut_after,
    )
    for happening, source in list(faults.past)[len(faults.past) - faults.replay :]:
        if subscription.wants(happening):
            subscription.offer((happening, source))
    pubsub.subscribe(subscription)
    stream = Stream(http=http, response=response, request=request, faults=faults, subscription=subscription)
    try:
        await stream.run()
    except Cut:
        if http.transport:
            http.transport.close()
    finally:
        pubsub.unsubscribe(subscription)
    return response
