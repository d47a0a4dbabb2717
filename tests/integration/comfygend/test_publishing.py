"""Publishing: from the spool into the store, outputs first, sidecars last, and nothing lost on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from comfygen.errors import KeyInvalid, NoSuchBucket, StoreDenied, StoreError, StoreFull, StoreUnavailable
from comfygen.folder_store import FolderStore
from comfygen.sidecar import CLASSIC_KEYS
from comfygen.store import Store
from comfygend import publisher as publisher_module
from comfygend.ledger import Job, JobState, RequestState
from comfygend.publisher import Publisher
from tests import making
from tests.integration.comfygend.indexing import running, until
from tests.integration.comfygend.jobs import Office, office
from tests.integration.comfygend.memory import MemoryStore

RED, BLUE = making.picture(colour=(200, 0, 0)), making.picture(colour=(0, 0, 200))


async def ours(job: Job) -> bool:
    return True


async def theirs(job: Job) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Press:
    """A publisher and what it works with; `seen` are the keys that it told the indexer."""

    office: Office
    publisher: Publisher
    seen: list[str]

    async def published(self, *jobs: Job, quiet: bool = True) -> None:
        """Run until these jobs are published and their files are forgotten; `quiet`: and every trouble has ended."""

        async def are_published() -> bool:
            if any((self.office.spool.folder / job.id).exists() for job in jobs):
                return False
            states = {(await self.office.job(job.id)).state for job in jobs}
            return states == {JobState.PUBLISHED} and not (quiet and self.office.board.troubles)

        async with running([self.publisher.run()]):
            await until(are_published)


def press(office: Office, store: Store) -> Press:
    seen: list[str] = []
    publisher = Publisher(
        store=store,
        ledger=office.ledger,
        spool=office.spool,
        bell=office.bell,
        board=office.board,
        look=seen.append,
        is_ours=ours,
    )
    return Press(office=office, publisher=publisher, seen=seen)


@asynccontextmanager
async def pressing(folder: Path, store: Store) -> AsyncIterator[Press]:
    async with office(folder) as made:
        yield press(made, store)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait as long as a service that spares its store."""
    monkeypatch.setattr(publisher_module, "LONGEST_WAIT", 0.01)


async def test_outputs_come_first_and_sidecars_last(tmp_path: Path) -> None:
    """A sidecar is the commit mark: whoever sees it finds every output of its job."""
    store = MemoryStore()
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED, BLUE)
        await made.published(job)
        red, blue = (output.key for output in await made.office.ledger(lambda ledger: ledger.jobs.outputs(job.id)))
        assert store.written == [red, blue, f"{red}.json", f"{blue}.json"]
        assert made.seen == [f"{red}.json", f"{blue}.json"]
        assert (store.objects[red][0], store.objects[blue][0]) == (RED, BLUE)
        assert (await made.office.request(job)).state is RequestState.DONE
        assert not (made.office.spool.folder / job.id).exists()


async def test_a_sidecar_tells_how_its_output_was_made(tmp_path: Path) -> None:
    """The 13 keys, and the place in the batch, the hash, the times."""
    store = MemoryStore()
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED, BLUE, tags=("dawn",))
        await made.published(job)
        told = json.loads(store.objects[store.written[-1]][0])
        assert [key for key in CLASSIC_KEYS if key not in told] == []
        assert told["batch"] == {"index": 1, "of": 1, "image": 2, "images": 2}
        assert (told["tags"], told["job"], told["request"]) == (["dawn"], job.id, job.request_id)
        assert told["timings"]["run_seconds"] == 1.5
        assert store.metadata[store.written[0]]["sha256"]


async def test_a_request_without_metadata_has_no_sidecar(tmp_path: Path) -> None:
    """`metadata: false` publishes the output alone, and nothing is indexed."""
    store = MemoryStore()
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED, metadata=False)
        await made.published(job)
        assert (len(store.written), made.seen) == (1, [])
        assert (await made.office.request(job)).state is RequestState.DONE


@pytest.mark.parametrize(
    "error", [StoreUnavailable("Away."), StoreFull("Full."), StoreDenied("No."), NoSuchBucket("Gone.")]
)
@pytest.mark.parametrize("attempt", [0, 1, 2, 3], ids=["output 1", "output 2", "sidecar 1", "sidecar 2"])
async def test_a_store_that_fails_and_comes_back_loses_nothing(tmp_path: Path, error: StoreError, attempt: int) -> None:
    """Whichever write it was: the job waits in the spool, and is published once, whole."""
    store, calls = MemoryStore(), [0]

    def fail_once(verb: str, key: str) -> None:
        calls[0] += 1
        if calls[0] == attempt + 1:
            raise error

    store.before = fail_once
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED, BLUE)
        await made.published(job)
        assert len(store.objects) == 4
        assert await made.office.story(job.id) == ["queued", "generated", "published"]
        assert made.office.board.troubles == {}


async def test_while_the_store_is_away_its_trouble_is_told(tmp_path: Path) -> None:
    """What is wrong, and that nothing is lost."""
    store = MemoryStore()
    store.errors["put"] = [StoreUnavailable("Away.") for _ in range(10_000)]
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED)

        async def told() -> bool:
            return "store" in made.office.board.troubles

        async with running([made.publisher.run()]):
            await until(told)
        trouble = made.office.board.troubles["store"]
        assert (trouble.message, trouble.hint) == ("Away.", "Outputs wait in the spool; nothing is lost.")
        assert (await made.office.job(job.id)).state is JobState.GENERATED


async def test_a_job_that_the_store_never_takes_does_not_stand_in_the_others_way(tmp_path: Path) -> None:
    """Even if there are more of them than are published at once."""
    store = MemoryStore()
    async with pressing(tmp_path, store) as made:
        bad = [await made.office.generated(RED) for _ in range(publisher_module.AT_ONCE)]
        good = [await made.office.generated(BLUE) for _ in range(3)]
        names = {job.id for job in bad}

        def refuse(verb: str, key: str) -> None:
            if any(name in key for name in names):
                raise StoreDenied("Not this one.")

        store.before = refuse
        await made.published(*good, quiet=False)
        assert {(await made.office.job(job.id)).state for job in bad} == {JobState.GENERATED}


@pytest.mark.parametrize("damage", ["gone", "cut off"])
async def test_a_job_whose_spool_file_was_lost_is_generated_again(tmp_path: Path, damage: str) -> None:
    """Somebody emptied the spool, or a disk did: nothing half is published."""
    async with FolderStore(tmp_path / "outputs") as store, pressing(tmp_path, store) as made:
        job = await made.office.generated(RED, BLUE)
        path = made.office.spool.folder / job.id / "2.png"
        path.unlink() if damage == "gone" else path.write_bytes(BLUE[:20])

        async def is_back() -> bool:
            return (await made.office.job(job.id)).state is JobState.QUEUED

        async with running([made.publisher.run()]):
            await until(is_back)
        again = await made.office.job(job.id)
        assert (again.failures, again.backend) == (1, None)
        assert [stored async for stored in store.list()] == []


async def test_a_key_that_the_store_can_never_take_fails_its_job(tmp_path: Path) -> None:
    """The service goes on; the request says why."""
    store = MemoryStore()

    def refuse(verb: str, key: str) -> None:
        raise KeyInvalid(f"{key!r} is too long for this file system.")

    store.before = refuse
    async with pressing(tmp_path, store) as made:
        job = await made.office.generated(RED)

        async def has_failed() -> bool:
            return (await made.office.job(job.id)).state is JobState.FAILED

        async with running([made.publisher.run()]):
            await until(has_failed)
        error = (await made.office.job(job.id)).error
        assert error is not None
        assert error["code"] == "key_invalid"


async def test_what_was_stored_before_a_crash_is_stored_again_under_the_same_keys(tmp_path: Path) -> None:
    """Repeating overwrites with the same bytes, sidecars included."""
    store = MemoryStore()
    async with office(tmp_path) as made:
        job = await made.generated(RED, BLUE)
        await _crash_after(press(made, store), store, job, writes=3)
        before = {key: body for key, (body, _) in store.objects.items()}
        assert len(before) == 3
    async with office(tmp_path) as made:
        await press(made, store).published(job)
        assert {key: body for key, (body, _) in store.objects.items() if key in before} == before
        assert len(store.objects) == 4


async def _crash_after(made: Press, store: MemoryStore, job: Job, *, writes: int) -> None:
    """Publish, and be cut off when so much is in the store."""

    def cut(verb: str, key: str) -> None:
        if len(store.written) == writes:
            raise asyncio.CancelledError

    store.before = cut
    with pytest.raises(asyncio.CancelledError):
        await made.publisher.publish(job)
    store.before = lambda verb, key: None


async def test_a_request_that_another_service_took_over_is_not_published(tmp_path: Path) -> None:
    """Its files are forgotten; the other one publishes its own."""
    store = MemoryStore()
    async with office(tmp_path) as made:
        job = await made.generated(RED)
        other = Publisher(
            store=store,
            ledger=made.ledger,
            spool=made.spool,
            bell=made.bell,
            board=made.board,
            look=lambda key: None,
            is_ours=theirs,
        )

        async def is_forgotten() -> bool:
            return not (made.spool.folder / job.id).exists()

        async with running([other.run()]):
            await until(is_forgotten)
        assert store.written == []


async def test_a_stop_in_the_middle_of_an_upload_leaves_the_job_where_it_was(tmp_path: Path) -> None:
    """It is published after the next start."""
    store = MemoryStore()
    async with office(tmp_path) as made:
        job = await made.generated(RED, BLUE)
        await _crash_after(press(made, store), store, job, writes=1)
        assert (await made.job(job.id)).state is JobState.GENERATED
        await press(made, store).published(job)
        assert len(store.objects) == 4
