"""The double's listen streams on bad days: each knob does to a stream what its name says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.minio_double import MinioDouble
from tests.minio_double.pubsub import Pubsub, Subscription, wildcard
from tests.minio_double.records import expand
from tests.minio_double.wire import Wire


@pytest.fixture
async def double() -> AsyncIterator[MinioDouble]:
    async with MinioDouble() as double:
        await double.make_bucket("photos")
        yield double


@pytest.fixture
def wire(double: MinioDouble) -> Wire:
    return Wire(endpoint=double.endpoint)


async def put(wire: Wire, *keys: str) -> None:
    for key in keys:
        await wire.call("PUT", f"/photos/{key}", b"x")


async def test_events_are_lost(double: MinioDouble, wire: Wire) -> None:
    """drop_next_events(2) loses two events, and their objects are there all the same."""
    async with wire.listen("photos") as listener:
        await double.listening()
        double.knobs.drop_next_events(2)
        await put(wire, "a", "b", "c")
        await listener.until(events=1)
        assert listener.heard() == ["c"]
    assert (await wire.call("HEAD", "/photos/a")).code == 200


async def test_events_are_repeated_and_reordered(double: MinioDouble, wire: Wire) -> None:
    """duplicate sends an event twice; reorder turns the next ones round."""
    async with wire.listen("photos") as listener:
        await double.listening()
        double.knobs.duplicate()
        await put(wire, "a")
        double.knobs.reorder(3)
        await put(wire, "b", "c", "d", "e")
        await listener.until(events=6)
        assert listener.heard() == ["a", "a", "d", "c", "b", "e"]


async def test_event_knobs_can_be_limited_to_some_keys(double: MinioDouble, wire: Wire) -> None:
    """event_keys keeps the knobs' hands off all other events."""
    async with wire.listen("photos") as listener:
        await double.listening()
        double.knobs.event_keys("*.json")
        double.knobs.drop_next_events()
        await put(wire, "a.png", "a.json", "b.json")
        await listener.until(events=2)
        assert listener.heard() == ["a.png", "b.json"]


async def test_weather_is_the_same_for_the_same_seed(double: MinioDouble, wire: Wire) -> None:
    """Random loss, repetition and disorder are repeatable, and turning them off lets nothing linger."""
    heard = []
    for _ in range(2):
        double.knobs.weather(drop=0.2, duplicate=0.2, reorder=0.2, seed=7)
        async with wire.listen("photos") as listener:
            await double.listening()
            await put(wire, *map(str, range(20)))
            double.knobs.weather()
            await put(wire, "last", "end")
            while "end" not in listener.heard():
                await listener.until(events=len(listener.heard()) + 1)
            heard.append(listener.heard())
        await double.listening(0)
    assert heard[0] == heard[1]
    assert heard[0] != [*map(str, range(20)), "last", "end"]


async def test_deaf_listeners_are_pinged(double: MinioDouble, wire: Wire) -> None:
    """deaf() stops events and not pings; hear() brings later events, not the lost ones."""
    double.knobs.deaf()
    async with wire.listen("photos", ping=1) as listener:
        await double.listening()
        await put(wire, "lost")
        await listener.until(pings=1)
        double.knobs.hear()
        await put(wire, "heard")
        await listener.until(events=1)
        assert listener.heard() == ["heard"]


async def test_a_new_connection_may_cure_deafness(double: MinioDouble, wire: Wire) -> None:
    """deaf(until_reconnect=True) is what the server's own bug does: who subscribes anew hears again."""
    async with wire.listen("photos") as old:
        await double.listening()
        double.knobs.deaf(until_reconnect=True)
        async with wire.listen("photos") as fresh:
            await double.listening(2)
            await put(wire, "a")
            await fresh.until(events=1)
            assert (old.heard(), fresh.heard()) == ([], ["a"])


async def test_a_stalled_stream_catches_up_as_far_as_its_queue_goes(double: MinioDouble, wire: Wire) -> None:
    """stall() holds everything back; what does not fit into the queue is lost and nobody is told."""
    double.knobs.queue_capacity(2)
    async with wire.listen("photos") as listener:
        await double.listening()
        double.knobs.stall()
        await put(wire, "a")
        await wire.call("HEAD", "/photos/a")
        await put(wire, "b", "c", "d", "e")
        double.knobs.stall(False)
        await put(wire, "f")
        while "f" not in listener.heard():
            await listener.until(events=len(listener.heard()) + 1)
        assert listener.heard() == ["a", "b", "c", "f"]


async def test_a_half_open_stream_says_nothing_and_does_not_end(double: MinioDouble, wire: Wire) -> None:
    """half_open() silences the streams that are open, for good, without closing them; new ones work."""
    async with wire.listen("photos") as old:
        await double.listening()
        double.knobs.half_open()
        async with wire.listen("photos", ping=1) as fresh:
            await double.listening(2)
            await put(wire, "a")
            await fresh.until(events=1, pings=1)
            assert (old.head, old.end) == (None, None)


async def test_headers_come_late(double: MinioDouble, wire: Wire) -> None:
    """headers_delay holds the status line of new streams back, and with it everything else."""
    for seconds, heard in ((3600.0, []), (0.01, ["a"])):
        double.knobs.headers_delay(seconds)
        async with wire.listen("photos") as listener:
            await double.listening()
            await put(wire, "a")
            await listener.until(events=len(heard))
            assert (listener.head is None, listener.heard()) == (not heard, heard)
        await double.listening(0)


async def test_a_cut_falls_anywhere(double: MinioDouble, wire: Wire) -> None:
    """cut_after(n) ends a stream after exactly n bytes: in a line, in a character, before the first."""
    async with wire.listen("photos") as whole:
        await double.listening()
        await put(wire, "ü.png", "ö.png")
        await whole.until(events=2)
    await double.listening(0)
    size = len(b"".join(whole.chunks))
    inside = b"".join(whole.chunks).index("ü".encode()) + 1
    for n in (0, 1, inside, size // 2, size - 1, size):
        double.knobs.cut_after(n)
        async with wire.listen("photos") as listener:
            await double.listening()
            await put(wire, "ü.png", "ö.png")
            await listener.until(end=True)
            assert (listener.end, len(b"".join(listener.chunks))) == ("end without last chunk", n)
        await double.listening(0)


async def test_cut_ends_all_open_streams(double: MinioDouble, wire: Wire) -> None:
    """cut() ends what is open now, and nothing else."""
    async with wire.listen("photos") as one, wire.listen("photos") as two:
        await double.listening(2)
        double.knobs.cut()
        await asyncio.gather(one.until(end=True), two.until(end=True))
    async with wire.listen("photos") as fresh:
        await double.listening()
        await put(wire, "a")
        await fresh.until(events=1)
        assert fresh.end is None


async def test_a_giant_line_can_be_sent(double: MinioDouble, wire: Wire) -> None:
    """send(size=n) writes so many bytes without a newline."""
    async with wire.listen("photos") as listener:
        await double.listening()
        double.knobs.send(size=100_000)
        await listener.until(chunks=50)
        assert b"".join(listener.chunks) == b"x" * 100_000


async def test_events_can_be_made_up(double: MinioDouble, wire: Wire) -> None:
    """emit and emit_phantom_delete send events of things that did not happen."""
    await put(wire, "a")
    async with wire.listen("photos") as listener:
        await double.listening()
        double.knobs.emit_phantom_delete("photos", "a")
        double.knobs.emit("s3:ObjectCreated:PutLegalHold", "photos", "a")
        await listener.until(events=2)
        assert [event["eventName"] for event in listener.events()] == [
            "s3:ObjectRemoved:Delete",
            "s3:ObjectCreated:PutLegalHold",
        ]
        assert [event["s3"]["object"].get("size") for event in listener.events()] == [None, 1]
    assert (await wire.call("HEAD", "/photos/a")).code == 200


async def test_listeners_survive_their_bucket(double: MinioDouble, wire: Wire) -> None:
    """A bucket that is deleted and made again under a listener is heard again, as recorded."""
    await put(wire, "a")
    async with wire.listen("photos", ping=1) as listener:
        await double.listening()
        double.knobs.reset_bucket("photos", recreate=False)
        assert (await wire.call("GET", "/photos", query="list-type=2")).error == "NoSuchBucket"
        await listener.until(pings=1)
        await wire.call("PUT", "/photos")
        await put(wire, "b")
        await listener.until(events=1)
        assert (listener.heard(), listener.end) == (["b"], None)


@pytest.mark.parametrize(
    ("prefix", "suffix", "key", "fits"),
    [
        ("", "", "anything/at all", True),
        ("img/", ".png", "img/a.png", True),
        ("img/", ".png", "img/a.jpg", False),
        ("im*/", "", "imx/a", True),
        ("im*", "*.png", "img/a.png", True),
        ("a?c", "", "abc/x", True),
        ("a.c", "", "abc", False),
        ("", "\n", "a\n", True),
    ],
)
def test_filters_are_wildcards(prefix: str, suffix: str, key: str, fits: bool) -> None:
    """MinIO joins prefix and suffix into one pattern in which `*` and `?` keep their power."""
    assert wildcard(prefix, suffix)(key) is fits


@pytest.mark.parametrize(
    ("leaving", "believed"), [(0, ("Removed",)), (1, ("Head", "Removed")), (2, ("Head", "Created"))]
)
def test_the_listener_after_the_one_that_leaves_is_forgotten(leaving: int, believed: tuple[str, ...]) -> None:
    """The union of masks is recomputed with MinIO's bug: the next one is skipped unless it is the last."""
    masks = {"Head": "s3:ObjectAccessed:Head", "Created": "s3:ObjectCreated:*", "Removed": "s3:ObjectRemoved:*"}
    pubsub = Pubsub()
    for mask in masks.values():
        everything = Subscription(types=expand(mask), bucket="", fits=lambda _: True, queue=asyncio.Queue())
        pubsub.subscribe(everything)
    pubsub.unsubscribe(pubsub.subscriptions[leaving])
    assert pubsub.union == frozenset().union(*(expand(masks[name]) for name in believed))
