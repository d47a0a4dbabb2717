"""Knobs: all that can be done to a double, in process and over HTTP alike. Arguments and results are plain JSON."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from tests.minio_double.answers import error_name
from tests.minio_double.buckets import forget_bucket
from tests.minio_double.faults import Counted, Faults, Script, Target
from tests.minio_double.records import Dialect, Happening, Source

if TYPE_CHECKING:
    from tests.minio_double.double import MinioDouble


class Knobs:
    """`method` below is an HTTP method or an operation's name ("PUT", "List*", "CopyObject"), `key` a pattern."""

    def __init__(self, double: MinioDouble) -> None:
        self._double = double

    @property
    def _faults(self) -> Faults:
        return self._double.state.faults

    def healthy(self) -> None:
        """Turn every knob back."""
        with self._faults.change():
            vars(self._faults).update({**vars(Faults()), "changed": self._faults.changed})
        self._double.state.clock.offset = 0.0
        self.hear()

    def dialect(self, name: str) -> None:
        """Speak like "minio", "rustfs", "aws" (no listen) or "old" (MinIO of 2023)."""
        self._faults.dialect = Dialect(name)

    # events

    def event_keys(self, pattern: str = "*") -> None:
        """Let the four knobs that follow touch only the events of matching keys."""
        self._faults.event_keys = pattern

    def drop_next_events(self, n: int = 1) -> None:
        """Lose the next n events."""
        self._faults.drop = n

    def duplicate(self, n: int = 1) -> None:
        """Send each of the next n events twice."""
        self._faults.duplicate = n

    def reorder(self, n: int = 2) -> None:
        """Hold the next n events back and send them in reverse order."""
        self._faults.reorder = n

    def weather(self, drop: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0, seed: int = 0) -> None:
        """Lose, repeat, or send after its successor each event with these probabilities, the same for the same seed."""
        self._faults.odds = {"drop": drop, "duplicate": duplicate, "reorder": reorder}
        self._faults.dice.seed(seed)

    def replay(self, n: int) -> None:
        """Tell every new listener the last n events first, as RustFS clusters may."""
        self._faults.replay = n

    def queue_capacity(self, n: int) -> None:
        """How many events a new listener may fall behind before they are lost."""
        self._faults.queue_capacity = n

    def emit(self, name: str, bucket: str, key: str) -> None:
        """Send an event without anything having happened: "s3:ObjectRemoved:NoOP", say."""
        entry = self._double.state.storage.find(bucket, key) if self._double.state.storage.has(bucket) else None
        told = entry if entry and not entry.marker and "Removed" not in name else None
        happening = Happening(name=name, bucket=bucket, key=key, entry=told)
        source = Source(
            user=self._double.access_key,
            remote="127.0.0.1",
            agent="Internal: [ILM-Expiry]",
            request_id=self._double.state.request_id(),
            length=0,
            origin=self._double.endpoint,
            time=self._double.state.clock.now(),
        )
        self._double.front.emit(happening, source)

    def emit_phantom_delete(self, bucket: str, key: str) -> None:
        """Say that an object was deleted that is still there."""
        self.emit("s3:ObjectRemoved:Delete", bucket, key)

    # listen streams

    def deaf(self, until_reconnect: bool = False) -> None:
        """Pings go on, events stop: for everyone until hear(), or for each listener until it comes back."""
        if not until_reconnect:
            self._faults.deaf = True
            return
        for subscription in self._double.pubsub.subscriptions:
            subscription.deaf = True

    def hear(self) -> None:
        """Events flow again; those in between are lost."""
        self._faults.deaf = False
        for subscription in self._double.pubsub.subscriptions:
            subscription.deaf = False

    def muffle(self, on: bool = True) -> None:
        """Flush nothing before 4 kB have gathered: no status line, no pings, no events."""
        self._faults.muffled = on

    def stall(self, on: bool = True) -> None:
        """Send nothing for now; what gathers (up to the queue's capacity) is sent after stall(False)."""
        with self._faults.change():
            self._faults.stalled = on

    def half_open(self) -> None:
        """Never send anything on the streams that are open now, and never close them either."""
        for subscription in self._double.pubsub.subscriptions:
            subscription.silent = True

    def headers_delay(self, seconds: float) -> None:
        """Hold the headers of new streams back, and all that follows."""
        self._faults.headers_delay = seconds

    def cut_after(self, n: int, times: int = 1) -> None:
        """Cut the next `times` streams after n bytes (of those open now: n from here on), wherever that falls."""
        self._faults.cuts, self._faults.cut_after = times, n
        for subscription in self._double.pubsub.subscriptions:
            subscription.budget = n

    def cut(self) -> None:
        """End the streams that are open now, without a last chunk, at their next byte."""
        self.cut_after(0, times=self.listeners())
        self.send(" ")

    def send(self, text: str = "", size: int = 0) -> None:
        """Write this text (or `size` bytes without a newline) into every stream that is open now."""
        for subscription in self._double.pubsub.subscriptions:
            subscription.offer(text.encode() or b"x" * size)

    def listeners(self) -> int:
        """How many streams are open."""
        return len(self._double.pubsub.subscriptions)

    # requests

    def status_sequence(
        self, answers: list[int | str], method: str = "*", key: str = "*", forever: bool = False
    ) -> None:
        """Answer matching requests with these, in order: 503 or "SlowDownWrite", "abort", "shutdown", 200 or "ok"."""
        script = Script(target=Target(method=method, key=key), answers=deque(map(error_name, answers)), forever=forever)
        self._faults.scripts.append(script)

    def fail(self, answer: int | str, method: str = "*", key: str = "*") -> None:
        """Answer matching requests with this until mend()."""
        self.status_sequence([answer], method=method, key=key, forever=True)

    def mend(self) -> None:
        """Forget all status sequences and failures."""
        self._faults.scripts.clear()

    def lost_ack(self, method: str = "PUT", key: str = "*", times: int = 1) -> None:
        """Do what is asked, then reset the connection instead of saying so."""
        self._faults.lost_acks.append(Counted(target=Target(method=method, key=key), times=times))

    def truncate_response(self, method: str = "GET", key: str = "*", times: int = 1) -> None:
        """Send half of the body, then close."""
        self._faults.truncated.append(Counted(target=Target(method=method, key=key), times=times))

    def slow_upload(self, bps: float) -> None:
        """Read request bodies at so many bytes a second; 0 is full speed."""
        self._faults.upload_rate = bps

    def refuse_chunked(self, on: bool = True) -> None:
        """Refuse aws-chunked bodies, as many S3-alikes do."""
        self._faults.refuse_chunked = on

    def clock_offset(self, seconds: float) -> None:
        """Set the server's clock wrong."""
        self._double.state.clock.offset = seconds

    def fail_conditional(self, how: str = "ignore") -> None:
        """Conditional writes: "ignore" (before 2024-05-07), "404" (RELEASE.2025-09-06), "" (right)."""
        if how not in {"", "ignore", "404"}:
            raise ValueError(f"{how!r} is neither 'ignore', '404' nor ''")
        self._faults.conditional = how

    # listings

    def list_lag(self, on: bool = True) -> None:
        """Show in every listing what was there when this was turned on (of a bucket: when it was next listed)."""
        storage = self._double.state.storage
        self._faults.lag = on
        self._faults.frozen = {name: list(storage.names(name)) for name, _ in storage.buckets()} if on else {}

    def list_empty(self, times: int = 1) -> None:
        """Show nothing in the next listings."""
        self._faults.empty_lists = times

    def list_page_status(self, page: int, answer: int | str) -> None:
        """Fail page n (the first is 1) of the next listing that gets so far."""
        self._faults.page_answers[page] = error_name(answer) or "InternalError"

    def nested(self, bucket: str, folder: str) -> None:
        """Store an object named like a folder, without an event: it hides all objects beneath it from listings."""
        self._double.state.storage.put(bucket, folder, b"", {})

    # the server

    def reset_bucket(self, bucket: str, recreate: bool = True) -> None:
        """Delete a bucket with all its objects, without events, and make it again, empty."""
        forget_bucket(self._double.state, bucket)
        if recreate:
            self._double.state.storage.create(bucket)

    async def refuse(self, seconds: float | None = None) -> None:
        """Refuse connections and end those there are: until accept(), or for a time."""
        await self._double.close()
        if seconds is not None:
            await asyncio.sleep(seconds)
            await self._double.open()

    async def accept(self) -> None:
        """Accept connections again."""
        await self._double.open()

    async def restart(self, seconds: float = 0.0) -> None:
        """Stop and start on the same port with the same objects; streams end without their last chunk."""
        await self.refuse(seconds)

    async def make_bucket(self, name: str) -> None:
        await self._double.make_bucket(name)

    def add_user(self, access_key: str, secret_key: str, actions: list[str]) -> None:
        self._double.add_user(access_key, secret_key, actions)

    def add_webhook(self, name: str, endpoint: str, token: str = "", retry: float | None = None) -> str:
        return self._double.add_webhook(name, endpoint, token=token, retry=retry)

    def requests(self) -> list[dict[str, Any]]:
        """The request log, for a test in another process."""
        return [{**vars(line), "time": line.time.isoformat()} for line in self._double.requests]

    def forget_requests(self) -> None:
        """Empty the request log."""
        self._double.requests.clear()
