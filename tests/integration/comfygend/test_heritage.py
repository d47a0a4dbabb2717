"""What another service has published of a job is adopted, if it is whole and the very same; else it is made anew."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from comfygen.errors import StoreDenied, StoreUnavailable
from comfygend.heritage import Heritage
from comfygend.ledger import Job, Output
from comfygend.publisher import Publisher
from tests.integration.comfygend.jobs import BACKEND, Office, office
from tests.integration.comfygend.memory import MemoryStore

FOUR = (b"one", b"two", b"three", b"four")


async def ours(job: Job) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Estate:
    """An office, and a store that another service has published into."""

    office: Office
    store: MemoryStore

    async def published(self, *contents: bytes) -> Job:
        """A job whose outputs and sidecars lie in the store."""
        job = await self.office.generated(*contents, output="lake.png")
        publisher = Publisher(
            store=self.store,
            ledger=self.office.ledger,
            spool=self.office.spool,
            bell=self.office.bell,
            board=self.office.board,
            look=lambda key: None,
            is_ours=ours,
        )
        await publisher.publish(job)
        return job

    async def heritage(self, job: Job) -> list[Output]:
        return await Heritage(store=self.store).of(job)

    def sidecars(self) -> list[str]:
        return sorted(key for key in self.store.objects if key.endswith(".json"))

    def edit(self, **changes: object) -> None:
        """Change the first sidecar."""
        key = self.sidecars()[0]
        told = json.loads(self.store.objects[key][0]) | changes
        self.store.fill({key: json.dumps(told).encode()})


@pytest.fixture
async def estate(tmp_path: Path) -> AsyncIterator[Estate]:
    async with office(tmp_path) as made:
        yield Estate(office=made, store=MemoryStore())


async def test_published_outputs_are_found_as_they_were(estate: Estate) -> None:
    """Key, hash, size, node and type; there is no file of them here."""
    job = await estate.published(*FOUR)
    before = await estate.office.ledger(lambda ledger: ledger.jobs.outputs(job.id))
    found = await estate.heritage(job)
    facts = [(out.n, out.key, out.sha256, out.bytes, out.node, out.media_type) for out in before]
    assert [(out.n, out.key, out.sha256, out.bytes, out.node, out.media_type) for out in found] == facts
    assert [out.path for out in found] == [""] * 4


async def test_a_dozen_outputs_keep_their_places(estate: Estate) -> None:
    """Their keys sort `_10` before `_2`."""
    job = await estate.published(*(f"picture {n}".encode() for n in range(12)))
    found = await estate.heritage(job)
    assert [(out.n, out.key.rpartition("_")[2]) for out in found] == [(n, f"{n}.png") for n in range(1, 13)]


async def test_a_single_output_has_no_number(estate: Estate) -> None:
    """One output, one sidecar."""
    job = await estate.published(b"one")
    (found,) = await estate.heritage(job)
    assert (found.n, found.width) == (1, 8)


async def test_nothing_was_published(estate: Estate) -> None:
    """The job is generated."""
    job = await estate.office.generated(b"one")
    assert await estate.heritage(job) == []


@pytest.mark.parametrize("missing", [".png", ".json"])
async def test_half_a_job_is_no_heritage(estate: Estate, missing: str) -> None:
    """One output or one sidecar is not there (yet)."""
    job = await estate.published(*FOUR)
    del estate.store.objects[next(key for key in estate.store.objects if key.endswith(missing))]
    assert await estate.heritage(job) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"graph_sha256": "0" * 64},
        {"batch": None},
        {"batch": "four"},
        {"batch": {"image": "1", "images": "4"}},
        {"batch": {"image": 2, "images": 4}},
    ],
)
async def test_what_was_made_otherwise_is_no_heritage(estate: Estate, changes: dict[str, object]) -> None:
    """Another graph, or a sidecar that does not tell which of how many it is."""
    job = await estate.published(*FOUR)
    estate.edit(**changes)
    assert await estate.heritage(job) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe"])
async def test_a_sidecar_that_cannot_be_read_is_no_heritage(estate: Estate, body: bytes) -> None:
    """Somebody has written over it."""
    job = await estate.published(b"one")
    estate.store.fill({estate.sidecars()[0]: body})
    assert await estate.heritage(job) == []


async def test_a_store_that_is_away_is_waited_for(estate: Estate) -> None:
    """Else what is there already would be made again; what may never be read is made anew."""
    job = await estate.published(b"one")
    key = estate.sidecars()[0]
    estate.store.errors[f"get {key}"] = [StoreUnavailable("It is away."), StoreDenied("Not for you.")]
    with pytest.raises(StoreUnavailable):
        await estate.heritage(job)
    assert await estate.heritage(job) == []
    assert len(await estate.heritage(job)) == 1


async def test_a_job_may_be_adopted_after_it_was_generated_here(estate: Estate) -> None:
    """Its spool was lost, and another service has published it meanwhile."""
    job = await estate.published(b"one")
    outputs, again = await estate.heritage(job), await estate.office.generated(b"mine", output="lake.png")
    await estate.office.ledger(lambda ledger: ledger.jobs.put_back(again.id, reason="spool file missing"))
    await estate.office.ledger(lambda ledger: ledger.jobs.take(BACKEND))
    await estate.office.ledger(lambda ledger: ledger.jobs.adopted(again.id, outputs, {1: "http://a/one.png"}))
    assert await estate.office.ledger(lambda ledger: ledger.jobs.urls(again.id)) == {1: "http://a/one.png"}
