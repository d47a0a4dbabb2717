"""Discarding: of a job that was cancelled after it had run, nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfygen.errors import StoreUnavailable
from comfygend import publisher as publisher_module
from comfygend.ledger import Job, JobState
from tests.integration.comfygend.indexing import running, until
from tests.integration.comfygend.memory import MemoryStore
from tests.integration.comfygend.test_publishing import BLUE, RED, Press, pressing


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its store."""
    for name in ("LONGEST_WAIT", "IDLE_SECONDS"):
        monkeypatch.setattr(publisher_module, name, 0.01)


async def cancel(made: Press, job: Job) -> None:
    """What control does."""
    await made.office.ledger(lambda ledger: ledger.orders.cancel(job.id, by="a person"))
    made.office.bell.ring()


async def discarded(made: Press, job: Job) -> None:
    """Run until nothing of the job is unwanted any more."""

    async def is_discarded() -> bool:
        return not await made.office.ledger(lambda ledger: ledger.orders.unwanted() + ledger.orders.given_up())

    async with running([made.publisher.run()]):
        await until(is_discarded)


async def test_what_lies_in_the_spool_is_dropped_and_never_published(tmp_path: Path) -> None:
    """The job stays cancelled."""
    store = MemoryStore()
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED)
        await cancel(made, job)
        await discarded(made, job)
        assert (store.written, (tmp_path / "spool" / job.id).exists()) == ([], False)
        assert (await made.office.job(job.id)).state is JobState.CANCELLED


async def test_of_a_job_that_another_service_has_only_our_files_go(tmp_path: Path) -> None:
    """What lies in the store under its keys is what the other one has made."""
    store = MemoryStore()
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED)
        (output,) = await made.office.ledger(lambda ledger: ledger.jobs.outputs(job.id))
        store.fill({output.key: RED})
        await made.office.ledger(lambda ledger: ledger.requests.withdraw(job.request_id))
        await discarded(made, job)
        assert (list(store.objects), (tmp_path / "spool" / job.id).exists()) == ([output.key], False)


async def test_what_is_in_the_store_already_is_removed(tmp_path: Path) -> None:
    """Cancelled in the middle of the upload: outputs and sidecars go, and the index is told."""
    store = MemoryStore()
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED, BLUE)
        before: list[str] = []

        def note(verb: str, key: str) -> None:
            before.extend([key] if verb == "put" else [])

        store.before = note
        original = made.publisher.is_ours

        async def cancelled_first(asked: Job) -> bool:
            await cancel(made, asked)
            return await original(asked)

        object.__setattr__(made.publisher, "is_ours", cancelled_first)
        await discarded_after(made, job)
        assert len(before) == 4
        assert store.objects == {}
        assert set(made.seen) >= {key for key in before if key.endswith(".json")}


async def discarded_after(made: Press, job: Job) -> None:
    """Run until the job was cancelled, and nothing of it is left."""

    async def is_over() -> bool:
        cancelled = (await made.office.job(job.id)).state is JobState.CANCELLED
        return cancelled and not await made.office.ledger(lambda ledger: ledger.orders.unwanted())

    async with running([made.publisher.run()]):
        await until(is_over)


async def test_while_the_store_is_away_it_is_remembered(tmp_path: Path) -> None:
    """And done as soon as it is back."""
    store = MemoryStore()
    store.errors["head"] = [StoreUnavailable(), StoreUnavailable()]
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED)
        await cancel(made, job)
        await discarded(made, job)
        assert (store.errors["head"], store.objects) == ([], {})
