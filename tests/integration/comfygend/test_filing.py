"""Filing: what a person finds beside the request file when it has ended."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfygend.filing import Filing
from comfygend.inbox.folder import FolderInbox
from comfygend.inputs import SpooledInputs
from comfygend.ledger import Job
from tests import making
from tests.integration.comfygend.indexing import running, until
from tests.integration.comfygend.jobs import BACKEND, Office, office
from tests.integration.comfygend.memory import MemoryStore

INBOX = making.arrival().inbox
TROUBLE = f"filing {INBOX}"


@dataclass(frozen=True, kw_only=True)
class Cabinet:
    """A filing over a real ledger and a real inbox folder."""

    office: Office
    inbox: FolderInbox
    filing: Filing
    inputs: SpooledInputs

    async def ended(self, *, fail: bool = False, **asked: Any) -> Job:
        """A request whose only job was published, or has failed, and whose file lies in work/."""
        (job,) = await self.office.accepted(making.new_job(**asked))
        await self.office.ledger(lambda ledger: ledger.jobs.take(BACKEND))
        if fail:
            error = {"code": "execution_failed", "message": "The lake is dry.", "node_id": "3"}
            await self.office.ledger(lambda ledger: ledger.jobs.failed(job.id, error))
        else:
            outputs = [self.office.output(job, 1, b"picture", 1)]
            await self.office.ledger(lambda ledger: ledger.jobs.generated(job.id, outputs, {"run_seconds": 1.5}))
            await self.office.ledger(lambda ledger: ledger.jobs.published(job.id, {1: "http://x/1.png"}))
        (self.inbox.work / f"{job.request_id}__lake.yaml").write_bytes(making.TEXT)
        return job

    async def filed(self) -> None:
        """Let it work until nothing is left to be put away."""

        async def all_filed() -> bool:
            return await self.office.ledger(lambda ledger: ledger.counts().unfiled) == 0

        async with running([self.filing.run()]):
            await until(all_filed)

    def report(self, name: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.inbox.folder / name).read_bytes())
        return report

    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self.inbox.folder)) for path in self.inbox.folder.rglob("*.*ml"))


@asynccontextmanager
async def cabinet(folder: Path, *, name: str = INBOX) -> AsyncIterator[Cabinet]:
    async with office(folder) as made:
        inbox = FolderInbox(folder / "requests")
        inbox.prepare()
        inputs = SpooledInputs(folder / "inputs", allowed=[], store=MemoryStore())
        filing = Filing(inboxes={name: inbox}, ledger=made.ledger, inputs=inputs, bell=made.bell, board=made.board)
        yield Cabinet(office=made, inbox=inbox, filing=filing, inputs=inputs)


async def test_a_result_says_what_was_made_and_where_it_is(tmp_path: Path) -> None:
    """Outputs with their addresses and seeds, and how long it took."""
    async with cabinet(tmp_path) as made:
        job = await made.ended(seed=2**64 - 1)
        await made.filed()
        report = made.report("done/lake.yaml.result.json")
        (output,) = report["outputs"]
        assert (report["request"], report["status"]) == (job.request_id, "done")
        assert (output["url"], output["seed"], output["job"]) == ("http://x/1.png", 2**64 - 1, job.id)
        assert report["jobs"][0]["timings"]["run_seconds"] == 1.5
        assert report["seconds"] >= 0
        assert made.left() == ["done/lake.yaml"]


async def test_an_error_says_what_went_wrong_in_which_job(tmp_path: Path) -> None:
    """With everything that the error knows."""
    async with cabinet(tmp_path) as made:
        job = await made.ended(fail=True)
        await made.filed()
        report = made.report("failed/lake.yaml.error.json")
        assert (report["status"], report["outputs"]) == ("failed", [])
        assert report["error"] == {"code": "execution_failed", "message": "The lake is dry.", "node_id": "3"}
        assert (report["jobs"][0]["job"], report["jobs"][0]["error"]) == (job.id, report["error"])
        assert made.left() == ["failed/lake.yaml"]


async def test_a_refusal_is_put_away_as_it_is(tmp_path: Path) -> None:
    """Text that is no text to others, and limits that are no JSON, are written all the same."""
    async with cabinet(tmp_path) as made:
        await made.office.ledger(lambda ledger: ledger.requests.receive(making.arrival(), "r7"))
        error = {"code": "x", "message": "half a pair: \ud83c", "limits": {"max": float("inf")}}
        await made.office.ledger(lambda ledger: ledger.requests.reject("r7", error))
        await made.filed()
        told = made.report("failed/lake.yaml.error.json")["error"]
        assert told["limits"] == {"max": "Infinity"}
        assert told["message"].startswith("half a pair: ")


async def test_an_id_that_is_known_is_explained(tmp_path: Path) -> None:
    """The second request has no outputs, but a note."""
    async with cabinet(tmp_path) as made:
        await made.ended(id="lake-1")
        await made.office.accepted(making.new_job(id="lake-1"))
        await made.filed()
        reports = [made.report(f"done/{path.name}") for path in sorted(made.inbox.done.glob("*.json"))]
        (notes,) = [report["notes"] for report in reports if not report["outputs"]]
        assert "not generated again" in notes[0]


async def test_what_cannot_be_put_away_is_told_and_keeps_no_other_waiting(tmp_path: Path) -> None:
    """Somebody put a file in the place of failed/; it is tried again until it works."""
    async with cabinet(tmp_path) as made:
        made.inbox.failed.rmdir()
        made.inbox.failed.write_text("no folder", encoding="utf-8")
        await made.ended(fail=True)
        await made.ended()

        async def one_is_left() -> bool:
            counts = await made.office.ledger(lambda ledger: ledger.counts())
            return counts.unfiled == 1 and TROUBLE in made.office.board.troubles

        async with running([made.filing.run()]):
            await until(one_is_left)
        assert "lake.yaml cannot be put away" in made.office.board.troubles[TROUBLE].message
        made.inbox.failed.unlink()
        await made.filed()
        assert made.office.board.troubles == {}
        assert made.left() == ["done/lake.yaml", "failed/lake.yaml"]


async def test_a_request_that_another_service_takes_over_is_no_trouble_any_more(tmp_path: Path) -> None:
    """It could not be put away here; now it need not be."""
    async with cabinet(tmp_path) as made:
        made.inbox.failed.rmdir()
        made.inbox.failed.write_text("no folder", encoding="utf-8")
        job = await made.ended(fail=True)

        async def has_trouble() -> bool:
            return TROUBLE in made.office.board.troubles

        async def has_none() -> bool:
            made.office.bell.ring()
            return not made.office.board.troubles

        async with running([made.filing.run()]):
            await until(has_trouble)
            await made.office.ledger(lambda ledger: ledger.requests.withdraw(job.request_id))
            await until(has_none)


async def test_a_request_of_an_inbox_that_is_not_configured_any_more_is_closed(tmp_path: Path) -> None:
    """There is nowhere to put it; the ledger has it all."""
    async with cabinet(tmp_path, name="folder:/another") as made:
        await made.ended()
        await made.filed()
        assert made.left() == ["work/r0__lake.yaml"]


async def test_filing_again_after_a_crash_changes_nothing(tmp_path: Path) -> None:
    """Killed between the report and the ledger."""
    async with cabinet(tmp_path) as made:
        job = await made.ended()
        row = await made.office.request(job)
        await made.inbox.file(await made.filing._ending(row))
        before = made.report("done/lake.yaml.result.json")
        await made.filed()
        assert made.report("done/lake.yaml.result.json") == before
        assert made.left() == ["done/lake.yaml"]


async def test_nothing_of_a_request_is_kept_in_memory_for_ever(tmp_path: Path) -> None:
    """Such as a compiled pattern for the names of its files: there are many requests in a year."""
    async with cabinet(tmp_path) as made:
        await made.ended()
        await made.filed()
        before = compiled_patterns()
        for _ in range(5):
            await made.ended()
        await made.filed()
        assert compiled_patterns() == before


def compiled_patterns() -> int:
    """How many there are in this process."""
    gc.collect()
    return sum(type(each) is re.Pattern for each in gc.get_objects())


async def test_prepared_images_go_with_the_last_job_that_needs_them(tmp_path: Path) -> None:
    """One of them is still needed."""
    async with cabinet(tmp_path) as made:
        for name in ("used.png", "done.png"):
            await made.inputs.keep(name, b"picture")
        await made.ended()
        await made.office.accepted(making.img2img("used.png"))

        async def one_is_left() -> bool:
            return [path.name for path in (tmp_path / "inputs").iterdir()] == ["used.png"]

        async with running([made.filing.run()]):
            await until(one_is_left)
