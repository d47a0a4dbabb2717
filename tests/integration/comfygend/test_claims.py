"""Claims on request objects: one owner, kept alive, taken over when silent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from comfygen.errors import StoreError
from comfygend.inbox.claims import Claims
from tests.integration.minio_stage import Stage, set_stage

LEASE = 60.0


@dataclass
class Clock:
    """A monotonic clock that a test moves."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Services:
    """Two services on one bucket, with a clock each."""

    stage: Stage
    one: Claims
    two: Claims
    first: Clock
    second: Clock


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    async with set_stage(prefix="", attempts=3) as stage:
        first, second = Clock(), Clock()
        one = Claims(bucket=stage.store, owner="one", lease=LEASE, clock=first)
        two = Claims(bucket=stage.store, owner="two", lease=LEASE, clock=second)
        yield Services(stage=stage, one=one, two=two, first=first, second=second)


async def test_only_one_gets_a_claim(services: Services) -> None:
    """The second service waits, and knows why."""
    claim = await services.one.acquire("r", "requests/a.yaml")
    assert claim is not None
    assert claim.fence == 1
    assert await services.two.acquire("r", "requests/a.yaml") is None


async def test_our_own_claim_is_ours_after_a_restart(services: Services) -> None:
    """The token is the same, and so is the fence."""
    await services.one.acquire("r", "a")
    again = Claims(bucket=services.stage.store, owner="one", lease=LEASE, clock=services.first)
    claim = await again.acquire("r", "a")
    assert claim is not None
    assert claim.fence == 1


async def test_a_lost_acknowledgement_of_a_claim_is_ours(services: Services) -> None:
    """B4: the repeated PUT is refused, but the token in the claim is ours."""
    services.stage.double.knobs.lost_ack("PutObject", ".comfygen/claims/*")
    claim = await services.one.acquire("r", "a")
    assert claim is not None
    assert claim.owner == "one"


async def test_a_silent_owner_is_taken_over_after_a_lease(services: Services) -> None:
    """B5: silence is counted from when it was first seen, by the looker's own clock; the fence goes up."""
    await services.one.acquire("r", "a")
    assert await services.two.acquire("r", "a") is None
    services.second.seconds = LEASE
    assert await services.two.acquire("r", "a") is None
    services.second.seconds = LEASE + 1
    claim = await services.two.acquire("r", "a")
    assert claim is not None
    assert (claim.owner, claim.fence) == ("two", 2)


async def test_an_owner_that_renews_is_not_taken_over(services: Services) -> None:
    """Each renewal changes the claim, so that the looker's clock starts anew."""
    await services.one.acquire("r", "a")
    for minute in range(1, 5):
        assert await services.two.acquire("r", "a") is None
        services.second.seconds = minute * (LEASE - 1)
        assert await services.one.renew("r")
    assert await services.two.acquire("r", "a") is None


async def test_the_old_owner_learns_that_it_lost(services: Services) -> None:
    """B5: its renewal fails, and it stops before it does anything that others would see."""
    await services.one.acquire("r", "a")
    await services.two.acquire("r", "a")
    services.second.seconds = LEASE + 1
    await services.two.acquire("r", "a")
    assert await services.one.is_ours("r")  # within the lease it need not ask
    services.first.seconds = LEASE
    assert not await services.one.is_ours("r")
    assert not await services.one.renew("r")
    assert await services.two.renew("r")


async def test_a_lost_acknowledgement_of_a_renewal_keeps_the_claim(services: Services) -> None:
    """The repeated PUT meets our own new etag."""
    await services.one.acquire("r", "a")
    services.stage.double.knobs.lost_ack("PutObject", ".comfygen/claims/*")
    assert await services.one.renew("r")
    assert await services.one.renew("r")


async def test_while_the_store_is_away_a_claim_is_relied_on(services: Services) -> None:
    """Nobody can take it over either."""
    await services.one.acquire("r", "a")
    services.first.seconds = 10 * LEASE
    services.stage.double.knobs.fail(503)
    assert await services.one.is_ours("r")
    with pytest.raises(StoreError):
        await services.one.renew("r")


async def test_a_released_claim_may_be_had_again(services: Services) -> None:
    """It leaves nothing in the bucket."""
    await services.one.acquire("r", "a")
    await services.one.release("r")
    assert await services.stage.keys(".comfygen/claims/") == []
    claim = await services.two.acquire("r", "a")
    assert claim is not None
    assert claim.fence == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"owner": 1}'])
async def test_a_claim_that_cannot_be_read_falls_to_who_waits(services: Services, body: bytes) -> None:
    """It belongs to nobody we know, and blocks nothing for ever."""
    await services.stage.plain(".comfygen/claims/r.json", body)
    assert await services.two.acquire("r", "a") is None
    services.second.seconds = LEASE + 1
    assert await services.two.acquire("r", "a") is not None


async def test_claims_of_requests_that_are_gone_are_forgotten(services: Services) -> None:
    """Years of requests that other services have done take no memory; of those still there, silence counts on."""
    for request in ("r", "s"):
        await services.one.acquire(request, request)
        await services.two.acquire(request, request)
    services.two.forget_gone({"s"})
    services.second.seconds += LEASE + 1
    assert list(services.two._seen) == ["s"]
    assert await services.two.acquire("s", "s") is not None
