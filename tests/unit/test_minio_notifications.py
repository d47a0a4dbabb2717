"""Polling and webhooks: the same hints from servers that have no stream of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfygen.errors import StoreDenied, StoreUnavailable
from comfygen.events import BucketEvent
from comfygen.minio_client import Listening, ListenSettings
from comfygen.minio_client.hints import HintQueue
from comfygen.minio_client.polling import Poll
from comfygen.minio_client.state import WEBHOOK_DEAF
from comfygen.store import Change, Hint
from tests.unit.minio_fakes import EVERYTHING, START, Ears, FakeBucket, FakeTime, settle

WEBHOOKS: list[str] = json.loads(
    (Path(__file__).parents[1] / "data/minio_client/events.json").read_text(encoding="utf-8")
)["webhooks"]
RECENT = "20260104_010900_robot-abcdefghijkl.png"
OLD = "20251224_000000_car-abcdefghijkl.png"
FUTURE = "20990101_000000_dancer-abcdefghijkl.png"


def written(*keys: str) -> list[Hint]:
    return [Hint(change=Change.WRITTEN, key=key) for key in keys]


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def bucket() -> FakeBucket:
    return FakeBucket()


@pytest.fixture
def poll(bucket: FakeBucket, time: FakeTime) -> Poll:
    return Poll(bucket, "", ListenSettings(), time.timing)


async def test_a_look_shows_what_is_new_changed_and_gone(bucket: FakeBucket, poll: Poll) -> None:
    """Each look tells the difference to the look before."""
    bucket.write(RECENT)
    assert await poll.look() == written(RECENT)
    assert await poll.look() == []
    bucket.write(RECENT)
    assert await poll.look() == written(RECENT)
    bucket.remove(RECENT)
    assert await poll.look() == [Hint(change=Change.REMOVED, key=RECENT)]


async def test_a_look_lists_only_the_tail(bucket: FakeBucket, poll: Poll) -> None:
    """What is older than the tail, and what is no output, is left to the reconcile."""
    for key in (OLD, RECENT, ".comfygen/heartbeat-box", "requests/done/a.yaml"):
        bucket.write(key)
    assert await poll.look() == written(RECENT)


async def test_the_tail_begins_before_the_newest_known_key(bucket: FakeBucket, poll: Poll, time: FakeTime) -> None:
    """After a quiet week, an output whose clock is a few minutes late is still found."""
    bucket.write(RECENT)
    await poll.look()
    await time.advance(7 * 24 * 3600)
    late = "20260104_010000_late-abcdefghijkl.png"
    bucket.write(late)
    assert await poll.look() == written(late)


async def test_a_key_from_the_future_blinds_nobody(bucket: FakeBucket, poll: Poll) -> None:
    """Somebody's wrong clock does not hide what is written now."""
    bucket.write(FUTURE)
    await poll.look()
    bucket.write(RECENT)
    assert await poll.look() == written(RECENT)


async def test_a_key_that_only_looks_like_a_time_is_no_time(bucket: FakeBucket, poll: Poll) -> None:
    """Month 13 is a name like any other."""
    bucket.write("20261399_999999_x.png")
    assert await poll.look() == written("20261399_999999_x.png")


async def test_a_failed_look_forgets_nothing(bucket: FakeBucket, poll: Poll) -> None:
    """A18: a listing that breaks off is no listing: nothing counts as gone."""
    bucket.write(RECENT)
    await poll.look()
    bucket.list_error = StoreUnavailable("503")
    with pytest.raises(StoreUnavailable):
        await poll.look()
    bucket.list_error = None
    assert await poll.look() == []


async def test_an_inbox_is_polled_without_its_folders(bucket: FakeBucket, time: FakeTime) -> None:
    """Of a prefix that is no time, what lies right below it is looked at: done/ may hold thousands."""
    poll = Poll(bucket, "requests/", ListenSettings(), time.timing)
    for key in ("requests/a.yaml", "requests/done/b.yaml", RECENT):
        bucket.write(key)
    assert await poll.look() == written("requests/a.yaml")


async def test_polling_is_a_state_of_its_own(bucket: FakeBucket, time: FakeTime) -> None:
    """Where the configuration says `poll`, nobody listens, and hints come every few seconds."""
    ears = Ears(bucket, time, source="poll")
    async with ears.open():
        bucket.write(RECENT)
        await time.advance(3)
        assert (ears.state, bucket.listens, ears.hints) == (Listening.POLLING, 0, written(RECENT))


async def test_polling_rarely_asks_for_a_look_at_everything(bucket: FakeBucket, time: FakeTime) -> None:
    """Once in ten minutes, since the tail does not show it all."""
    ears = Ears(bucket, time, source="poll")
    async with ears.open():
        await time.advance(599)
        assert ears.hints == []
        await time.advance(601)
        assert ears.hints == [EVERYTHING] * 2


async def test_polling_survives_an_outage_and_then_looks_at_everything(
    bucket: FakeBucket, time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour of 503 is one warning; afterwards, nothing is taken for granted."""
    ears = Ears(bucket, time, source="poll")
    bucket.objects[RECENT] = await bucket.put(RECENT, b"", content_type="image/png")
    bucket.list_error = StoreUnavailable("503")
    async with ears.open():
        await time.advance(300)
        bucket.list_error = None
        await time.advance(3)
    assert EVERYTHING in ears.hints
    assert sum("cannot be polled" in record.getMessage() for record in caplog.records) == 1


async def test_a_webhook_gives_hints(time: FakeTime) -> None:
    """The recorded bodies, keys decoded."""
    bucket = FakeBucket()
    bucket.settings = type(bucket.settings)(endpoint="http://127.0.0.1:9000", bucket="life")
    ears = Ears(bucket, time, source="webhook")
    async with ears.open():
        assert [ears.notifications.offer(body.encode()) for body in WEBHOOKS] == [None] * 4
        await settle()
    assert ears.hints == [
        Hint(change=Change.REMOVED, key="plain.png"),
        *written("a b+c%20d.png", "ümläut/日本 🎨.png"),
    ]


@pytest.mark.parametrize("body", [b"", b"nonsense", b"{}", b'{"Records":[{}]}', b"x" * 2_000_000], ids=range(5))
async def test_a_body_that_cannot_be_read_is_a_reason_and_no_error(
    bucket: FakeBucket, time: FakeTime, body: bytes
) -> None:
    """A26: its sender would block on an error for good; it is counted."""
    ears = Ears(bucket, time, source="webhook")
    async with ears.open():
        reason = ears.notifications.offer(body)
        assert (reason is None, ears.notifications.state.unreadable) == ((True, 0) if body == b"" else (False, 1))


async def test_webhooks_that_arrive_are_listening(bucket: FakeBucket, time: FakeTime) -> None:
    """The canary comes back by webhook: all is well, and nothing is polled."""
    ears = Ears(bucket, time, source="webhook")
    bucket.told = lambda event: offer(ears, event)
    async with ears.open():
        await time.advance(200)
        assert (ears.state, ears.notifications.state.canary_lag, bucket.lists) == (Listening.LISTENING, 0, 0)


async def test_webhooks_that_do_not_arrive_are_deafness(bucket: FakeBucket, time: FakeTime) -> None:
    """Nobody posts: said with the remedy, everything is looked at, and polled until somebody does."""
    ears = Ears(bucket, time, source="webhook")
    async with ears.open():
        await time.advance(10)
        assert (ears.state, ears.notifications.state.remedy) == (Listening.DEAF, WEBHOOK_DEAF)
        bucket.write(RECENT)
        await time.advance(3)
        assert ears.hints == [EVERYTHING, *written(RECENT)]
        bucket.told = lambda event: offer(ears, event)
        await time.advance(60)
        assert (ears.state, ears.hints[-1]) == (Listening.LISTENING, EVERYTHING)


@pytest.mark.parametrize("error", [StoreDenied("no"), StoreUnavailable("busy")])
async def test_a_canary_that_cannot_be_written_blames_no_webhook(
    bucket: FakeBucket, time: FakeTime, error: StoreDenied | StoreUnavailable
) -> None:
    """Without a canary nobody knows: the state stays."""
    bucket.put_error = error
    ears = Ears(bucket, time, source="webhook")
    async with ears.open():
        await time.advance(200)
        assert ears.state is Listening.LISTENING


async def test_the_state_is_told_as_json(bucket: FakeBucket, time: FakeTime) -> None:
    """`/status` shows when and how; the figure of missed events comes from whoever reconciles."""
    ears = Ears(bucket, time)
    async with ears.open():
        ears.notifications.note_reconcile(2)
        ears.notifications.note_reconcile(1)
        told = ears.notifications.state.to_json()
    assert {name: told[name] for name in ("source", "state", "connected_since", "reconcile_found", "last_event")} == {
        "source": "listen",
        "state": "listening",
        "connected_since": START.isoformat(),
        "reconcile_found": 3,
        "last_event": None,
    }
    json.dumps(told)


async def test_hints_about_one_key_are_one_hint() -> None:
    """The last one counts."""
    queue = HintQueue(10)
    for change in (Change.WRITTEN, Change.WRITTEN, Change.REMOVED):
        queue.put(Hint(change=change, key=RECENT))
    queue.close()
    assert [hint async for hint in queue] == [Hint(change=Change.REMOVED, key=RECENT)]


async def test_a_queue_never_grows_beyond_its_bound() -> None:
    """Beyond it, all keys give way to one look at everything, and later keys are told again."""
    queue = HintQueue(3)
    for number in range(5):
        queue.put(Hint(change=Change.WRITTEN, key=str(number)))
    queue.close()
    assert ([hint async for hint in queue], queue.overflows) == ([EVERYTHING, *written("4")], 1)


async def test_a_closed_queue_ends() -> None:
    """Whoever waits for a hint is told that none will come."""
    queue = HintQueue(3)
    queue.close()
    assert [hint async for hint in queue] == []


def offer(ears: Ears, event: BucketEvent) -> None:
    """Post an event as MinIO's webhook target does."""
    s3 = {"bucket": {"name": event.bucket}, "object": {"key": event.key.replace("/", "%2F")}}
    record = {"eventName": event.name, "eventSource": "minio:s3", "s3": s3}
    assert ears.notifications.offer(json.dumps({"Records": [record]}).encode()) is None
