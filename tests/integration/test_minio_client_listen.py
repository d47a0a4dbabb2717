"""Notifications over real sockets: the stream of a server like MinIO, in its dialects and on its bad days."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from botocore.exceptions import CredentialRetrievalError

from comfygen.events import BucketEvent
from comfygen.minio_client import Listening, ListenSettings, MinioStore, Notifications
from comfygen.minio_client.state import ListenRefused, StreamLost
from comfygen.store import Change, Hint
from tests.integration.minio_stage import BUCKET, Stage, set_stage, settings_for, until
from tests.integration.test_minio_client_faults import server, store_at
from tests.unit.minio_fakes import FakeTime

KEYS = ["plain.png", "a b.png", "a+b.png", "a%20b.png", "100%.png", "x/y.png", "q?x=1#f&y<z>.png", "ü/日本 🎨.png"]
PING = '{"Records":null}\n'
EVERYTHING = Hint(change=Change.RECONCILE)
RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data/minio_client/events.json").read_text("utf-8"))
OPERATIONS = [
    stream for stream in RECORDED["streams"] if stream["case"] == "listen while all of the operations above ran"
]
LISTEN = ListenSettings(ping=10, identity="box", backoff_base=0.001, backoff_cap=0.01, poll_every=0.01)


class Heard:
    """A subscription and all its hints so far."""

    def __init__(self, stage: Stage, notifications: Notifications) -> None:
        self.stage, self.notifications, self.hints = stage, notifications, list[Hint]()

    @property
    def state(self) -> Listening:
        return self.notifications.state.state

    async def take(self, entered: asyncio.Event) -> None:
        async with self.notifications.run() as hints:
            entered.set()
            async for hint in hints:
                self.hints.append(hint)

    async def pinged(self, done: Callable[[], object]) -> None:
        """Wait for something, while the server sends pings faster than its clock would."""

        def ping_and_look() -> object:
            self.stage.double.knobs.send(PING)
            return done()

        await until(ping_and_look)


@asynccontextmanager
async def subscription(
    stage: Stage, *, listening: ListenSettings = LISTEN, store: MinioStore | None = None, **options: Any
) -> AsyncIterator[Heard]:
    """Enter a subscription and collect what it says; the first ping is sent at once."""
    heard = Heard(stage, (store or stage.store).notifications(settings=listening, **options))
    entered = asyncio.Event()
    task = asyncio.create_task(heard.take(entered))
    await heard.pinged(entered.is_set)
    try:
        yield heard
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with set_stage() as stage:
        yield stage


def written(*keys: str) -> list[Hint]:
    return [Hint(change=Change.WRITTEN, key=key) for key in keys]


@pytest.mark.parametrize("dialect", ["minio", "rustfs", "old"])
async def test_every_key_is_heard_in_every_dialect(stage: Stage, dialect: str) -> None:
    """A15: raw or form-encoded, with null, empty or blank pings: the same keys."""
    stage.double.knobs.dialect(dialect)
    async with subscription(stage) as heard:
        for key in KEYS:
            await stage.plain(key)
        await until(lambda: len(heard.hints) >= len(KEYS))
    assert heard.hints == written(*KEYS)


async def test_removals_are_heard(stage: Stage) -> None:
    """Put, overwrite and delete by anybody."""
    await stage.plain("1.png")
    async with subscription(stage) as heard:
        await stage.store.delete("1.png")
        await until(lambda: heard.hints)
    assert heard.hints == [Hint(change=Change.REMOVED, key="1.png")]


async def test_only_our_prefix_is_heard(stage: Stage) -> None:
    """The server filters by the store's prefix, we by the wanted one below it."""
    async with stage.another(prefix="") as whole, subscription(stage, prefix="requests/") as heard:
        await whole.put("requests/not-ours.yaml", b"", content_type="text/plain")
        await stage.plain("1.png")
        await stage.plain("requests/ours.yaml")
        await until(lambda: heard.hints)
    assert heard.hints == written("requests/ours.yaml")


async def test_nothing_is_missed_between_subscription_and_list(stage: Stage) -> None:
    """A2: with a writer running all the time, list after entering plus hints is everything."""
    keys = [f"{number:03}.png" for number in range(100)]

    async def write() -> None:
        for key in keys:
            await stage.plain(key)

    writing = asyncio.create_task(write())
    async with subscription(stage) as heard:
        listed = set(await stage.keys())
        await writing
        await until(lambda: listed | {hint.key for hint in heard.hints} == set(keys))


async def test_a_cut_stream_reconnects_with_a_reconcile(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A1, A22: MinIO never ends a stream properly; that is one line in the log and a look at everything."""
    caplog.set_level(logging.INFO, "comfygen.minio_client")
    async with subscription(stage) as heard:
        stage.double.knobs.cut()
        await heard.pinged(lambda: heard.hints)
        assert heard.hints == [EVERYTHING]
        assert (heard.state, heard.notifications.state.reconnects) == (Listening.LISTENING, 1)
    ours = [record for record in caplog.records if record.name == "comfygen.minio_client"]
    assert [(record.levelname, record.exc_info) for record in ours][1:] == [("INFO", None)] * 2


async def test_a_restarted_server_is_found_again(stage: Stage) -> None:
    """A22: while it is down, connections are refused; when it is back, all goes on."""
    async with subscription(stage) as heard:
        await stage.double.close()
        await until(lambda: heard.state is Listening.CONNECTING)
        await stage.double.open()
        await heard.pinged(lambda: EVERYTHING in heard.hints)
        await stage.plain("1.png")
        await until(lambda: written("1.png")[0] in heard.hints)


async def test_a_giant_line_drops_the_connection(stage: Stage) -> None:
    """A8: the buffer is bounded; what was in the line is found by the reconcile."""
    async with subscription(stage) as heard:
        stage.double.knobs.send(size=2 << 20)
        await heard.pinged(lambda: EVERYTHING in heard.hints)
        assert heard.notifications.state.reconnects == 1


async def test_a_line_that_is_no_json_drops_the_connection(stage: Stage) -> None:
    """A7: nobody knows what was in it: look at everything."""
    async with subscription(stage) as heard:
        stage.double.knobs.send("nonsense\n")
        await heard.pinged(lambda: EVERYTHING in heard.hints)


async def test_a_deleted_bucket_keeps_its_listener(stage: Stage) -> None:
    """A23: MinIO goes on pinging it; made again, its events are heard."""
    async with subscription(stage) as heard:
        stage.double.knobs.reset_bucket(BUCKET)
        await stage.plain("1.png")
        await until(lambda: heard.hints)
    assert heard.hints == written("1.png")


async def test_doubled_and_reordered_events_are_hints_like_any_other(stage: Stage) -> None:
    """A3, A4: whoever looks at the key finds the truth, whatever came first."""
    stage.double.knobs.duplicate(2)
    stage.double.knobs.reorder(2)
    async with subscription(stage) as heard:
        await stage.plain("1.png")
        await stage.store.delete("1.png")
        await until(lambda: heard.hints)
    assert {hint.key for hint in heard.hints} == {"1.png"}


async def test_a_deaf_stream_is_found_and_polled(stage: Stage) -> None:
    """A5: pings go on, the canary is not heard: state, remedy, reconnect, reconcile; an event ends it."""
    listening = ListenSettings(
        ping=10, identity="box", canary_every=0.01, canary_bound=0.3, poll_every=0.01, backoff_base=0.001
    )
    stage.double.knobs.deaf()
    async with subscription(stage, listening=listening) as heard:
        await heard.pinged(lambda: heard.state is Listening.DEAF and EVERYTHING in heard.hints)
        stage.double.knobs.hear()
        await heard.pinged(lambda: heard.state is Listening.LISTENING)
        await until(lambda: heard.notifications.state.canary_lag is not None)
    assert [hint for hint in heard.hints if "heartbeat" in hint.key] == []


async def test_a_muffled_server_is_named_without_waiting_for_it(stage: Stage) -> None:
    """A21: entering ends after ping + 5 s of the given clock, and says why nothing will be heard."""
    time = FakeTime()
    stage.double.knobs.muffle()
    async with MinioStore.open(settings_for(stage.double), timing=time.timing) as store:
        heard = Heard(stage, store.notifications())
        entered = asyncio.Event()
        task = asyncio.create_task(heard.take(entered))
        await until(stage.double.knobs.listeners)
        await time.advance(6.9)
        assert not entered.is_set()
        await time.advance(0.1)
        await until(entered.is_set)
        assert heard.state is Listening.MUFFLED
        task.cancel()
        await asyncio.wait({task})


async def test_a_half_open_connection_is_given_up(stage: Stage) -> None:
    """A6: three pings of the given clock without a byte."""
    time = FakeTime()
    async with (
        MinioStore.open(settings_for(stage.double), timing=time.timing) as store,
        subscription(stage, store=store, listening=ListenSettings(ping=10)) as heard,
    ):
        stage.double.knobs.half_open()
        await time.advance(31)
        await until(lambda: heard.state is Listening.CONNECTING)


@pytest.mark.parametrize(
    ("answer", "expected", "remedy"),
    [
        ("AccessDenied", Listening.FORBIDDEN, "s3:ListenBucketNotification"),
        ("SignatureDoesNotMatch", Listening.FORBIDDEN, "secret key"),
        (501, Listening.UNSUPPORTED, "webhook or poll"),
        ("InvalidArgument", Listening.UNSUPPORTED, "webhook or poll"),
        ("NoSuchBucket", Listening.MISSING, "comfygen bucket setup"),
    ],
)
async def test_a_refusal_is_a_state_and_polled(
    stage: Stage, answer: int | str, expected: Listening, remedy: str
) -> None:
    """A10, A11, A12: each with its remedy, and changes are found nevertheless."""
    stage.double.knobs.fail(answer, "Listen*")
    async with subscription(stage) as heard:
        assert (heard.state, remedy in str(heard.notifications.state.remedy)) == (expected, True)
        await stage.plain("29991231_235959_robot.png")
        await until(lambda: heard.hints)
    assert heard.hints == written("29991231_235959_robot.png")


async def test_a_server_that_answers_with_a_listing_is_no_listener(stage: Stage) -> None:
    """A11: AWS and moto ignore `events` and send a 200 that is XML."""
    stage.double.knobs.dialect("aws")
    async with subscription(stage) as heard:
        assert heard.state is Listening.UNSUPPORTED


async def test_a_skewed_clock_is_told_in_the_state(stage: Stage) -> None:
    """The remedy says how wrong the clock is."""
    stage.double.knobs.clock_offset(-1200)
    async with subscription(stage) as heard:
        assert heard.state is Listening.FORBIDDEN
        assert "ahead of the server's" in str(heard.notifications.state.remedy)


async def test_missing_permission_to_listen_is_named(stage: Stage) -> None:
    """A10: a user who may read and write, and not listen."""
    stage.double.add_user("worker", "worker-secret", ["s3:GetObject", "s3:PutObject", "s3:ListBucket"])
    async with (
        stage.another(access_key="worker", secret_key="worker-secret") as store,
        subscription(stage, store=store) as heard,
    ):
        assert heard.state is Listening.FORBIDDEN
        assert "s3:ListenBucketNotification" in str(heard.notifications.state.remedy)


async def test_a_busy_server_is_only_a_bad_moment(stage: Stage) -> None:
    """503 and 429 are tried again soon, not after minutes."""
    stage.double.knobs.status_sequence([503, 429], "Listen*")
    async with subscription(stage) as heard:
        await heard.pinged(lambda: heard.state is Listening.LISTENING)


async def streamed(chunks: list[bytes]) -> tuple[list[BucketEvent], StreamLost]:
    """What the store reads from a server that sends these chunks and then breaks off."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        assert request.transport is not None
        request.transport.close()
        return response

    events: list[BucketEvent] = []
    async with server(answer) as endpoint, store_at(endpoint) as store:
        with pytest.raises(StreamLost) as raised:
            async with store.open_stream(LISTEN) as stream:
                async for heard in stream:
                    events += heard
    return events, raised.value


async def test_the_recorded_stream_is_read_as_it_was_sent() -> None:
    """Chunk by chunk as a real server sent it, a line cut in two included."""
    chunks = [chunk.encode() for chunk in OPERATIONS[0]["chunks"]]
    events, lost = await streamed(chunks)
    assert (len(events), events[0].key, events[13].name) == (18, "plain.png", "s3:ObjectRemoved:Delete")
    assert lost.retryable


@pytest.mark.parametrize("cut", [1, 20, "🎨", -1])
async def test_a_stream_cut_anywhere_gives_its_whole_lines(cut: int | str) -> None:
    """A7: the rest of a line, mid UTF-8 too, is dropped with the connection."""
    line = next(chunk for chunk in OPERATIONS[0]["chunks"] if "🎨" in chunk).encode()
    length = cut if isinstance(cut, int) else line.index(cut.encode()) + 2
    events, _ = await streamed([line + line[:length]])
    assert [event.key for event in events] == ["ümläut/日本 🎨.png"]


@pytest.mark.parametrize(("status", "expected"), [(302, ListenRefused), (502, StreamLost), (404, ListenRefused)])
async def test_what_a_proxy_says_is_understood(status: int, expected: type[Exception]) -> None:
    """Pages instead of error documents: by their status."""

    async def page(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text="<html>", content_type="text/html")

    async with server(page) as endpoint, store_at(endpoint) as store:
        with pytest.raises(expected):
            async with store.open_stream(LISTEN):
                pass


class GoneCredentials:
    """Credentials whose source is away at the moment."""

    async def get_frozen_credentials(self) -> Any:
        raise CredentialRetrievalError(provider="role", error_msg="away")


async def test_credentials_that_cannot_be_renewed_are_a_bad_moment(stage: Stage) -> None:
    """B8: they are read anew for each connection, and their source may be away for a while."""
    store = MinioStore(replace(stage.store._connection, credentials=GoneCredentials()))
    with pytest.raises(StreamLost, match="away"):
        async with store.open_stream(LISTEN):
            pass


async def test_webhooks_are_an_own_source(stage: Stage) -> None:
    """MinIO's webhook target posts what happens; the store takes the bodies to whoever listens."""
    settings = replace(stage.store.settings, listening=ListenSettings(source="webhook", identity="box"))
    async with MinioStore.open(settings) as store:

        async def hook(request: web.BaseRequest) -> web.Response:
            assert store.offer(await request.read()) is None
            return web.Response()

        async with server(hook) as address, store.listen() as hints:
            arn = stage.double.add_webhook("COMFY", f"{address}/hooks/bucket")
            rule: Any = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
            await stage.store._s3.put_bucket_notification_configuration(
                Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [rule]}
            )
            for key in KEYS:
                await stage.plain(key)
            async with asyncio.timeout(60):
                heard = {(await anext(hints)).key for _ in KEYS}
            assert [subscription.state.source for subscription in store.subscriptions] == ["webhook"]
    assert (heard, store.subscriptions) == (set(KEYS), ())


async def test_a_body_that_cannot_be_read_gives_its_reason(stage: Stage) -> None:
    """A26: the daemon answers 200 all the same; with nobody listening there is nothing to say."""
    settings = replace(stage.store.settings, listening=ListenSettings(source="webhook", identity="box"))
    async with MinioStore.open(settings) as store, store.listen():
        assert "no JSON" in str(store.offer(b"nonsense"))
    assert store.offer(b"nonsense") is None
