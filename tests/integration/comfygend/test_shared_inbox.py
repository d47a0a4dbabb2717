"""Several services at one bucket inbox: who has a request, who loses it, and what becomes of it after a restart."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from comfygen.errors import InboxError, StoreDenied
from comfygend.inbox import InboxItem
from tests import making
from tests.integration.comfygend.letterbox import LEASE, PREFIX, QUICK, Desk, Letterbox, ending, letterbox, row
from tests.integration.comfygend.test_claims import Clock
from tests.integration.minio_stage import until


def claim_of(item: InboxItem) -> str:
    return f".comfygen/claims/{item.arrival.id}.json"


async def beaten(box: Letterbox, item: InboxItem, times: int) -> None:
    """Wait until the claim of an item was renewed so often."""
    async with asyncio.timeout(60):
        while json.loads((await box.stage.store.get(claim_of(item)))[0])["beat"] < times:
            await asyncio.sleep(0.01)


async def steal(box: Letterbox, item: InboxItem) -> None:
    """Another service takes the claim over."""
    stolen = {"owner": "thief", "fence": 2, "beat": 0, "object": item.handle}
    await box.stage.plain(claim_of(item), json.dumps(stolen).encode())


async def one_taken(box: Letterbox, **settings: Any) -> tuple[Desk, InboxItem]:
    """A desk that has taken `lake.yaml`."""
    await box.put("lake.yaml")
    desk = box.open(**settings)
    (item,) = await desk.has(1)
    return desk, item


def timed(box: Letterbox, owner: str) -> tuple[Desk, Clock]:
    """A desk at work, whose clock the test moves."""
    desk, clock = box.desk(owner), Clock()
    desk.inbox.claims.clock = clock
    box.start(desk.take())
    return desk, clock


async def test_one_of_two_services_takes_a_request() -> None:
    """The other one knows that it waits, and is not done before."""
    async with letterbox() as box:
        for n in range(10):
            await box.put(f"lake-{n}.yaml")
        one, two = box.open("one"), box.open("two")
        await until(lambda: len(one.items) + len(two.items) == 10)
        await one.looked()
        await two.looked()
        assert sorted(one.names + two.names) == [f"lake-{n}.yaml" for n in range(10)]
        assert one.inbox.status()["waiting_for_others"] == len(two.items)
        assert two.inbox.is_empty() is (len(two.items) == 10)


async def test_a_request_of_a_silent_service_is_taken_over() -> None:
    """It comes with the word that somebody has begun it; that one learns of it as soon as it asks."""
    async with letterbox() as box:
        one, first = await one_taken(box)
        two, clock = timed(box, "two")
        await two.looked()
        clock.seconds = LEASE + 1
        (taken,) = await two.has(1)
        assert (taken.arrival.id, taken.arrival.inherited) == (first.arrival.id, True)
        one.inbox.claims.held[str(first.arrival.id)].renewed -= LEASE
        assert not await one.inbox.is_ours(str(first.arrival.id))


async def test_an_outage_is_no_silence() -> None:
    """Nobody could renew a claim meanwhile: each owner has a whole lease again."""
    async with letterbox() as box:
        await one_taken(box)
        two, clock = timed(box, "two")
        await two.looked()
        box.stage.double.knobs.fail(503, "List*")
        await until(lambda: two.inbox.trouble)
        clock.seconds = LEASE + 1
        box.stage.double.knobs.mend()
        await two.looked()
        assert (two.items, two.inbox.status()["waiting_for_others"]) == ([], 1)
        clock.seconds = 3 * LEASE
        assert len(await two.has(1)) == 1


async def test_claims_are_kept_alive() -> None:
    """Three times per lease."""
    async with letterbox() as box:
        desk, item = await one_taken(box, lease=QUICK)
        box.start(desk.inbox.keep())
        await beaten(box, item, 3)
        assert desk.lost == []


async def test_a_bad_moment_of_the_store_loses_no_claim() -> None:
    """They are renewed when it is back."""
    async with letterbox() as box:
        desk, item = await one_taken(box, lease=QUICK)
        box.stage.double.knobs.status_sequence([503, 403, 503], "PutObject", claim_of(item))
        box.start(desk.inbox.keep())
        await beaten(box, item, 1)
        assert desk.lost == []


async def test_a_claim_that_was_taken_over_is_told_and_nothing_is_put_away() -> None:
    """The request is the other's now."""
    async with letterbox() as box:
        desk, item = await one_taken(box, lease=QUICK)
        await steal(box, item)
        box.start(desk.inbox.keep())
        await until(lambda: desk.lost)
        box.tasks.pop().cancel()
        await desk.inbox.file(ending(item))
        assert desk.lost == [item.arrival.id]
        assert "done/lake.yaml" not in await box.under()


async def test_a_request_that_was_lost_is_ours_again_when_the_other_falls_silent() -> None:
    """Also without a restart."""
    async with letterbox() as box:
        await box.put("lake.yaml")
        desk, clock = timed(box, "one")
        (item,) = await desk.has(1)
        await steal(box, item)
        clock.seconds = LEASE
        assert not await desk.inbox.is_ours(str(item.arrival.id))
        await desk.looked()
        clock.seconds = 3 * LEASE
        _, again = await desk.has(2)
        assert (again.arrival.id, again.arrival.inherited) == (item.arrival.id, True)


async def test_a_request_that_was_released_is_no_loss() -> None:
    """It is put away while its claim is being renewed."""
    async with letterbox() as box:
        desk, item = await one_taken(box, lease=QUICK)
        box.start(desk.inbox.keep())
        await desk.inbox.file(ending(item))
        await desk.looked()
        assert (desk.lost, await box.claims(), desk.inbox.claims.held) == ([], [], {})


async def test_a_request_that_is_declined_is_free_for_others() -> None:
    """While one service takes nothing new, another may."""
    async with letterbox() as box:
        desk, item = await one_taken(box)
        box.tasks.pop().cancel()
        await desk.inbox.decline(item)
        other = box.open("two")
        assert [taken.arrival.id for taken in await other.has(1)] == [item.arrival.id]


async def test_a_request_of_another_service_cannot_be_tried_again_here() -> None:
    """The other one has it in hand."""
    async with letterbox() as box:
        desk, item = await one_taken(box)
        await desk.inbox.reclaim(row(item.arrival))
        await steal(box, item)
        with pytest.raises(InboxError, match="Another service"):
            await desk.inbox.reclaim(row(item.arrival))


# -- after a restart --------------------------------------------------------------------------------------------------


async def test_after_a_restart_our_claims_are_ours() -> None:
    """And what we work on already is not handed over again."""
    async with letterbox() as box:
        _, item = await one_taken(box)
        again = box.desk()
        assert await again.inbox.resume([row(item.arrival)]) == []
        box.start(again.take())
        await again.looked()
        assert (again.items, again.inbox.status()["claims"]) == ([], 1)


async def test_after_a_restart_what_another_service_has_is_lost() -> None:
    """And waited for, in case that one falls silent."""
    async with letterbox() as box:
        _, item = await one_taken(box)
        await steal(box, item)
        again = box.desk()
        assert await again.inbox.resume([row(item.arrival)]) == [item.arrival.id]
        box.start(again.take())
        await again.looked()
        assert (again.items, again.inbox.status()["waiting_for_others"]) == ([], 1)


@pytest.mark.parametrize("after", ["move", "keep", "delete"])
async def test_after_a_restart_what_another_service_has_ended_is_lost(after: str) -> None:
    """Whatever became of the object."""
    async with letterbox() as box:
        one, item = await one_taken(box, after=after)
        await one.inbox.file(ending(item))
        again = box.desk(after=after)
        assert await again.inbox.resume([row(item.arrival)]) == [item.arrival.id]


async def test_after_a_restart_an_object_that_was_replaced_is_not_ours() -> None:
    """Nobody has a claim, and it is another object."""
    async with letterbox() as box:
        one, item = await one_taken(box)
        box.tasks.pop().cancel()
        await one.inbox.claims.release(str(item.arrival.id))
        await box.put("lake.yaml", b"another one")
        assert await box.desk().inbox.resume([row(item.arrival)]) == [item.arrival.id]


async def test_after_a_restart_what_has_ended_is_put_away() -> None:
    """Even if the claim is gone: only the last step was left."""
    async with letterbox() as box:
        one, item = await one_taken(box)
        box.tasks.pop().cancel()
        await one.inbox.claims.release(str(item.arrival.id))
        again = box.desk()
        assert await again.inbox.resume([row(item.arrival, ended=True)]) == []
        again.bodies = one.bodies
        await again.inbox.file(ending(item))
        assert await box.under() == ["done/lake.yaml", "done/lake.yaml.result.json"]


async def test_while_the_store_is_away_open_requests_count_as_ours() -> None:
    """They are looked at again as soon as it is back."""
    async with letterbox() as box:
        _, item = await one_taken(box)
        again = box.desk(lease=QUICK)
        box.stage.double.knobs.fail(503)
        assert await again.inbox.resume([row(item.arrival)]) == []
        assert await again.inbox.is_ours(str(item.arrival.id))
        box.stage.double.knobs.mend()
        await steal(box, item)
        box.start(again.inbox.keep())
        await until(lambda: again.lost)
        assert not await again.inbox.is_ours(str(item.arrival.id))


async def test_credentials_that_are_refused_are_an_error_at_the_start() -> None:
    """Others may have taken our requests over, and we could not know."""
    async with letterbox() as box:
        _, item = await one_taken(box)
        box.stage.double.knobs.fail(403)
        with pytest.raises(StoreDenied):
            await box.desk().inbox.resume([row(item.arrival)])


async def test_credentials_that_are_refused_later_end_no_loop() -> None:
    """What could not be looked at is looked at again."""
    async with letterbox() as box:
        _, item = await one_taken(box)
        box.tasks.pop().cancel()
        again = box.desk(lease=QUICK)
        box.stage.double.knobs.fail(503)
        await again.inbox.resume([row(item.arrival)])
        box.stage.double.knobs.mend()
        box.stage.double.knobs.status_sequence([403, 403], "GetObject")
        box.start(again.inbox.keep())
        await until(lambda: again.inbox.claims.held)
        assert again.lost == []


async def test_claims_without_an_object_and_without_a_request_are_swept() -> None:
    """Ours; those of others are none of our business."""
    async with letterbox() as box:
        for owner in ("one", "two"):
            claim = {"owner": owner, "fence": 1, "beat": 0, "object": f"{PREFIX}gone.yaml"}
            await box.stage.plain(f".comfygen/claims/of-{owner}.json", json.dumps(claim).encode())
        await box.open("one").looked()
        assert await box.claims() == ["of-two"]


async def test_ids_are_the_same_everywhere() -> None:
    """Seeds, job ids and keys follow from them, so that nothing is ever made twice under two names."""
    async with letterbox() as box:
        await box.put("lake.yaml", making.TEXT)
        ids = {found.id for owner in ("one", "two") async for found in box.desk(owner).inbox.shelf.objects()}
        assert len(ids) == 1
