"""A bucket's own stream: kept alive, never believed blindly, and each failure named."""

from __future__ import annotations

import logging

import pytest

from comfygen.errors import StoreDenied, StoreUnavailable
from comfygen.minio_client import Listening, ListenSettings, Notifications
from comfygen.minio_client.state import REMEDIES, ListenRefused, StreamLost
from comfygen.store import Change, Hint
from tests.unit.minio_fakes import EVERYTHING, Ears, FakeBucket, FakeTime, settle

KEY = "20260104_011000_robot-abcdefghijkl.png"


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def bucket() -> FakeBucket:
    return FakeBucket()


async def test_what_is_written_and_removed_becomes_hints(bucket: FakeBucket, time: FakeTime) -> None:
    """An event says: look at this key."""
    ears = Ears(bucket, time)
    async with ears.open():
        bucket.write(KEY)
        await settle()
        bucket.remove(KEY)
        await settle()
    assert ears.hints == [Hint(change=Change.WRITTEN, key=KEY), Hint(change=Change.REMOVED, key=KEY)]


async def test_the_first_connection_asks_for_no_reconcile(bucket: FakeBucket, time: FakeTime) -> None:
    """On entering, the subscription stands and the consumer lists: nothing was missed."""
    ears = Ears(bucket, time)
    async with ears.open():
        assert (ears.state, ears.hints) == (Listening.LISTENING, [])


async def test_keys_are_told_below_the_prefix_of_the_store(time: FakeTime) -> None:
    """The store's prefix is taken off, and only what lies below the wanted one is told."""
    bucket = FakeBucket(prefix="art/")
    ears = Ears(bucket, time, prefix="requests/")
    async with ears.open():
        bucket.write("requests/a.yaml")
        bucket.write(KEY)
        await settle()
    assert ears.hints == [Hint(change=Change.WRITTEN, key="requests/a.yaml")]


@pytest.mark.parametrize(
    "name", ["s3:ObjectRemoved:NoOP", "s3:ObjectCreated:PutTagging", "s3:ObjectCreated:PutLegalHold"]
)
async def test_events_that_are_no_work_give_no_hint(bucket: FakeBucket, time: FakeTime, name: str) -> None:
    """A14: tags, legal holds and deletions of nothing are only a sign of life."""
    ears = Ears(bucket, time)
    async with ears.open():
        bucket.tell(KEY, name)
        await settle()
        assert ears.notifications.state.last_event == time.now()
    assert ears.hints == []


async def test_events_of_other_buckets_are_not_ours(bucket: FakeBucket, time: FakeTime) -> None:
    """A target may serve several buckets."""
    ears = Ears(bucket, time)
    async with ears.open():
        bucket.tell(KEY, bucket="another")
        await settle()
    assert ears.hints == []


async def test_every_reconnect_asks_for_a_reconcile(bucket: FakeBucket, time: FakeTime) -> None:
    """A1: what was written in between is found by a look at everything."""
    ears = Ears(bucket, time)
    async with ears.open():
        bucket.send(StreamLost("cut"))
        await settle()
        assert ears.state is Listening.CONNECTING
        await time.advance(1)
        assert (ears.state, ears.notifications.state.reconnects) == (Listening.LISTENING, 1)
    assert ears.hints == [EVERYTHING]


async def test_an_ordinary_end_is_one_line_in_the_log(
    bucket: FakeBucket, time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    """A22: a server that stops is no error; fifty refused reconnects say nothing more."""
    caplog.set_level(logging.INFO, "comfygen.minio_client")
    ears = Ears(bucket, time)
    bucket.refusals = [StreamLost("refused") for _ in range(50)]
    async with ears.open():
        await time.advance(1352)
    assert [record.getMessage().split(".")[0] for record in caplog.records if record.exc_info is None] == [
        "bucket notifications: connecting again",
        "bucket notifications: listening",
    ]


async def test_reconnects_back_off_with_a_cap(bucket: FakeBucket, time: FakeTime) -> None:
    """A16: half a second doubles up to thirty; chance spreads it (here it is at its upper end)."""
    bucket.refusals = [StreamLost("refused") for _ in range(8)]
    ears = Ears(bucket, time, poll_every=7)
    async with ears.open():
        await time.advance(91.5)
    waits = [seconds for seconds in time.slept if seconds not in (7, 60)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


async def test_progress_resets_the_back_off(bucket: FakeBucket, time: FakeTime) -> None:
    """A connection that said more than its first byte was a good one: the next attempt comes soon."""
    bucket.refusals = [StreamLost("refused") for _ in range(6)]
    ears = Ears(bucket, time, poll_every=7)
    async with ears.open():
        await time.advance(31.5)
        bucket.send(())
        await settle()
        bucket.send(StreamLost("cut"))
        await settle()
    assert [seconds for seconds in time.slept if seconds not in (7, 60)][-2:] == [16, 0.5]


async def test_a_silent_connection_is_given_up(bucket: FakeBucket, time: FakeTime) -> None:
    """A6: three pings without a byte, and it is connected again."""
    ears = Ears(bucket, time)
    async with ears.open():
        await ears.ping_for(20)
        assert bucket.listens == 1
        await time.advance(7)
        assert bucket.listens == 2


async def test_a_muffled_server_is_named_and_polled(bucket: FakeBucket, time: FakeTime) -> None:
    """A21: no first byte within ping + 5 s; entering does not wait longer, and polling begins."""
    bucket.muffled = True
    ears = Ears(bucket, time)
    async with ears.open(7):
        assert (ears.state, ears.notifications.state.remedy) == (Listening.MUFFLED, REMEDIES[Listening.MUFFLED])
        bucket.write(KEY)
        await time.advance(3)
    assert ears.hints == [Hint(change=Change.WRITTEN, key=KEY)]


async def test_a_muffled_server_is_tried_again(bucket: FakeBucket, time: FakeTime) -> None:
    """A21: another build may run by now; when it speaks, everything is looked at and polling ends."""
    bucket.muffled = True
    ears = Ears(bucket, time)
    async with ears.open(7):
        bucket.muffled = False
        await time.advance(180)
        assert (ears.state, ears.notifications.state.remedy) == (Listening.LISTENING, None)
        assert ears.hints == [EVERYTHING]
        lists = bucket.lists
        await ears.ping_for(30)
        assert bucket.lists == lists


async def test_a_deaf_listener_is_found_by_its_canary(bucket: FakeBucket, time: FakeTime) -> None:
    """A5: pings come, events do not: reconnect, reconcile, poll, and say so."""
    ears = Ears(bucket, time)
    async with ears.open():
        bucket.deaf = True
        await ears.ping_for(72)
        assert (ears.state, ears.notifications.state.remedy) == (Listening.DEAF, REMEDIES[Listening.DEAF])
        assert (bucket.listens, ears.hints[0]) == (2, EVERYTHING)


async def test_only_an_event_ends_deafness(bucket: FakeBucket, time: FakeTime) -> None:
    """A5: a new connection is no proof; its canary is, at once."""
    ears = Ears(bucket, time)
    async with ears.open():
        bucket.deaf = True
        await ears.ping_for(72)
        bucket.deaf = False
        await ears.ping_for(20)
        assert ears.state is Listening.LISTENING
        assert ears.hints[-1] == EVERYTHING


async def test_the_canary_measures_and_is_no_work(bucket: FakeBucket, time: FakeTime) -> None:
    """Its lag is in the state, one object is overwritten, and no hint tells of it."""
    ears = Ears(bucket, time)
    async with ears.open():
        await ears.ping_for(130)
        assert ears.notifications.state.canary_lag == 0
    assert (list(bucket.objects), ears.hints) == ([".comfygen/heartbeat-box"], [])


async def test_without_permission_to_sing_it_goes_on_listening(
    bucket: FakeBucket, time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    """Credentials that may only read are fine: that the canary is missing is said once."""
    bucket.put_error = StoreDenied("no")
    ears = Ears(bucket, time)
    async with ears.open():
        await ears.ping_for(200)
        assert (ears.state, bucket.listens) == (Listening.LISTENING, 1)
    assert sum("canary" in record.getMessage() for record in caplog.records) == 1


async def test_a_canary_that_cannot_be_written_now_is_no_deafness(bucket: FakeBucket, time: FakeTime) -> None:
    """A store that is busy says nothing about hearing."""
    bucket.put_error = StoreUnavailable("busy")
    ears = Ears(bucket, time)
    async with ears.open():
        await ears.ping_for(200)
        assert (ears.state, bucket.listens) == (Listening.LISTENING, 1)


@pytest.mark.parametrize("state", [Listening.FORBIDDEN, Listening.UNSUPPORTED, Listening.MISSING])
async def test_a_refusal_is_a_state_with_a_remedy_and_polled(
    bucket: FakeBucket, time: FakeTime, state: Listening
) -> None:
    """A10, A11, A12: what only people can mend is said, polled, and tried again after minutes."""
    bucket.refusals = [ListenRefused(state, "no")]
    ears = Ears(bucket, time)
    async with ears.open():
        assert (ears.state, ears.notifications.state.remedy) == (state, REMEDIES[state])
        bucket.write(KEY)
        await time.advance(3)
        assert ears.hints == [Hint(change=Change.WRITTEN, key=KEY)]
        await time.advance(180)
        assert ears.state is Listening.LISTENING


async def test_a_server_that_is_down_is_no_obstacle_at_start(bucket: FakeBucket, time: FakeTime) -> None:
    """B21: entering succeeds, the state says why nothing is heard, and the first connection reconciles."""
    bucket.refusals = [StreamLost("Nothing listens there.")]
    ears = Ears(bucket, time)
    async with ears.open():
        assert (ears.state, ears.notifications.state.remedy) == (Listening.CONNECTING, "Nothing listens there.")
        await time.advance(1)
        assert (ears.state, ears.hints) == (Listening.LISTENING, [EVERYTHING])


async def test_more_events_than_the_queue_holds_become_one_reconcile(bucket: FakeBucket, time: FakeTime) -> None:
    """A9: the reader never waits; ten thousand events beyond the bound are one look at everything."""
    ears = Ears(bucket, time, queue=100)
    async with ears.open():
        for number in range(10_000):
            bucket.tell(f"{number}.png")
        await settle()
        assert ears.notifications.state.overflows > 0
    assert EVERYTHING in ears.hints


async def test_leaving_closes_the_connection(bucket: FakeBucket, time: FakeTime) -> None:
    """Nothing keeps running once the context is left."""
    ears = Ears(bucket, time)
    async with ears.open():
        assert len(bucket._streams) == 1
    assert bucket._streams == []


async def test_a_loop_that_dies_ends_the_subscription_with_its_reason(bucket: FakeBucket, time: FakeTime) -> None:
    """Never half alive: an unforeseen error ends the iteration and is raised."""
    bucket.refusals = [ZeroDivisionError()]
    notifications = Notifications(bucket, prefix="", settings=ListenSettings(), timing=time.timing)
    with pytest.raises(ExceptionGroup) as raised:
        async with notifications.run() as hints:
            assert [hint async for hint in hints] == []
    assert raised.group_contains(ZeroDivisionError)
