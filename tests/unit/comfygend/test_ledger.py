"""The ledger: every hand-over, written down."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from comfygen.errors import LedgerError
from comfygend.ledger import JobState, Ledger, Output, RequestState, job_id, prompt_id, request_id
from tests import making

OUTPUT = Output(
    n=1,
    node="7",
    path="job/1.png",
    key="20260104_011032_lake-job.png",
    media_type="image/png",
    bytes=9,
    sha256="00",
    width=8,
    height=8,
    frames=None,
    fps=None,
)
A = "http://a:8188"
B = "http://b:8188"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ticks = making.clock()
    opened = Ledger.open(tmp_path / "queue.db", now=lambda: next(ticks))
    yield opened
    opened.close()


def accepted(ledger: Ledger, *jobs: dict[str, Any], request: str = "r1") -> tuple[str, ...]:
    """A request with these jobs, in the ledger."""
    ledger.requests.receive(making.arrival(identity=request), request)
    ledger.requests.claimed(request)
    return ledger.requests.accept(request, [making.new_job(**job) for job in jobs or ({},)])


def test_ids_are_stable_and_have_their_form() -> None:
    """Request ids sort by time; job ids and prompt ids follow from what they are for."""
    early, late = (request_id(datetime(2026, 1, day, tzinfo=UTC), bytes(10)) for day in (1, 2))
    assert early < late
    assert re.fullmatch(r"[a-z2-7]{12}", job_id("r1", 0))
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", prompt_id("j", 1))
    assert (job_id("r1", 0), prompt_id("j", 1)) == (job_id("r1", 0), prompt_id("j", 1))
    assert len({job_id("r1", 0), job_id("r1", 1), job_id("r2", 0)}) == 3


def test_a_file_found_again_before_it_was_claimed_keeps_its_id(ledger: Ledger) -> None:
    """A crash between the commit and the rename makes no second request."""
    first = ledger.requests.receive(making.arrival(), "r1")
    assert ledger.requests.receive(making.arrival(), "r2") == first


def test_the_same_file_dropped_again_later_is_a_new_request(ledger: Ledger) -> None:
    """Once it was claimed, another file may well have the same inode and bytes."""
    ledger.requests.receive(making.arrival(), "r1")
    ledger.requests.claimed("r1")
    assert ledger.requests.receive(making.arrival(), "r2").id == "r2"


def test_the_bytes_are_kept_as_they_were(ledger: Ledger) -> None:
    """What was dropped is what is in the ledger."""
    ledger.requests.receive(making.arrival(body=b"\xff\x00"), "r1")
    assert ledger.requests.body("r1") == b"\xff\x00"


def test_jobs_go_by_priority_then_by_age(ledger: Ledger) -> None:
    """A higher priority goes first; equal ones go in the order of their requests and places."""
    low = accepted(ledger, {}, {})
    high = accepted(ledger, {"priority": 5}, request="r2")
    taken = [job.id for job in iter(lambda: ledger.jobs.take(A), None)]
    assert taken == [*high, *low]


def test_the_age_of_a_request_is_no_matter_of_its_id(ledger: Ledger) -> None:
    """The ids of objects in a bucket do not sort by time: the one that was written earlier goes first."""
    later, earlier = (datetime(2026, 1, 4, 1, minute, tzinfo=UTC) for minute in (20, 10))
    for name, stamp in (("a", later), ("z", earlier)):
        ledger.requests.receive(replace(making.arrival(identity=name), id=name, stamp=stamp), name)
        ledger.requests.accept(name, [making.new_job()])
    assert [job["request"] for job in ledger.stories.jobs()] == ["a", "z"]
    assert [job.request_id for job in iter(lambda: ledger.jobs.take(A), None)] == ["z", "a"]


def test_a_job_waits_for_its_time(ledger: Ledger) -> None:
    """`not_before` is honoured, and such a job is not due."""
    accepted(ledger, {"not_before": datetime(2030, 1, 1, tzinfo=UTC)})
    assert ledger.jobs.take(A) is None
    assert ledger.counts().due == 0


def test_a_job_is_given_to_one_backend_only(ledger: Ledger) -> None:
    """Taking writes down backend, attempt and prompt id before anything is sent."""
    (job,) = accepted(ledger)
    taken = ledger.jobs.take(A)
    assert taken is not None
    assert (taken.id, taken.attempt, taken.prompt_id, taken.backend) == (job, 1, prompt_id(job, 1), A)
    assert ledger.jobs.take(B) is None
    assert [each.id for each in ledger.jobs.taken(A)] == [job]


def test_a_backend_that_refused_a_job_is_not_given_it_again(ledger: Ledger) -> None:
    """Another one may have the model that this one lacks."""
    (job,) = accepted(ledger)
    ledger.jobs.take(A)
    assert ledger.jobs.refused(job, A) == {A}
    ledger.jobs.put_back(job, reason="preflight_failed")
    assert ledger.jobs.take(A) is None
    assert ledger.jobs.take(B) is not None


def test_every_attempt_has_its_own_prompt_id(ledger: Ledger) -> None:
    """ComfyUI would run the same id twice without a word."""
    (job,) = accepted(ledger)
    ledger.jobs.take(A)
    ledger.jobs.submitted(job)
    ledger.jobs.put_back(job, reason="prompt_lost", failed=True)
    again = ledger.jobs.take(B)
    assert again is not None
    assert (again.attempt, again.failures, again.prompt_id) == (2, 1, prompt_id(job, 2))


def test_the_whole_way(ledger: Ledger) -> None:
    """Queued, submitted, generated, published; then the request is done, and each step is in `transitions`."""
    (job,) = accepted(ledger)
    ledger.jobs.take(A)
    ledger.jobs.submitted(job)
    ledger.jobs.generated(job, [OUTPUT], {"run_seconds": 1.5})
    assert [each.id for each in ledger.jobs.spooled()] == [job]
    assert ledger.counts().spooled_bytes == 9
    ledger.jobs.published(job, {1: "http://x/1.png"})
    assert (ledger.jobs.outputs(job), ledger.jobs.urls(job)) == ([OUTPUT], {1: "http://x/1.png"})
    assert [row.id for row in ledger.requests.unfiled()] == ["r1"]
    story = [row["after"] for row in ledger.pages.all("SELECT after FROM transitions ORDER BY id")]
    assert story == ["received", "queued", "accepted", "submitted", "generated", "published", "done"]


def test_a_request_ends_when_its_last_job_does(ledger: Ledger) -> None:
    """One failed job of two makes the request a failed one, but only when the other has ended as well."""
    first, second = accepted(ledger, {}, {})
    for _ in range(2):
        ledger.jobs.take(A)
    ledger.jobs.failed(first, {"code": "execution_failed", "message": "It broke."})
    assert ledger.requests.get("r1").state is RequestState.ACCEPTED
    ledger.jobs.generated(second, [OUTPUT], {})
    ledger.jobs.published(second, {})
    assert ledger.requests.get("r1").state is RequestState.FAILED


@pytest.mark.parametrize("step", ["submitted", "published", "failed"])
def test_a_step_that_must_not_happen_is_refused_and_changes_nothing(ledger: Ledger, step: str) -> None:
    """One function makes transitions, and knows which may follow which."""
    (job,) = accepted(ledger)
    ledger.jobs.take(A)
    ledger.jobs.failed(job, {"message": "no"})
    with pytest.raises(LedgerError, match="it cannot become"):
        {"submitted": lambda: ledger.jobs.submitted(job), "published": lambda: ledger.jobs.published(job, {})}.get(
            step, lambda: ledger.jobs.failed(job, {"message": "again"})
        )()
    row = ledger.jobs.get(job)
    assert (row.state, row.error) == (JobState.FAILED, {"message": "no"})


def test_an_id_of_ones_own_is_generated_once(ledger: Ledger) -> None:
    """The second request with the same `id` has no jobs, and a note that says why."""
    accepted(ledger, {"id": "lake-1"})
    assert accepted(ledger, {"id": "lake-1"}, request="r2") == ()
    row = ledger.requests.get("r2")
    assert row.state is RequestState.DONE
    assert "r1" in row.notes[0]


def test_the_id_of_a_failed_request_may_be_used_again(ledger: Ledger) -> None:
    """Mend it and drop it again."""
    (job,) = accepted(ledger, {"id": "lake-1"})
    ledger.jobs.take(A)
    ledger.jobs.failed(job, {"message": "no"})
    assert len(accepted(ledger, {"id": "lake-1"}, request="r2")) == 1


def test_all_jobs_of_one_request_may_share_its_id(ledger: Ledger) -> None:
    """`count: 3` with an `id` is three jobs."""
    assert len(accepted(ledger, {"id": "lake-1"}, {"id": "lake-1"}, {"id": "lake-1"})) == 3


def test_jobs_of_a_backend_that_is_not_configured_any_more_are_found(ledger: Ledger) -> None:
    """They are put back into the queue at the start."""
    (job,) = accepted(ledger)
    ledger.jobs.take(A)
    assert [each.id for each in ledger.jobs.orphaned([B])] == [job]
    assert ledger.jobs.orphaned([A, B]) == []


def test_a_plan_survives_the_ledger_exactly(ledger: Ledger) -> None:
    """A retry runs the same plan, up to seeds of 64 bits."""
    (job,) = accepted(ledger, {"seed": 2**64 - 1})
    assert ledger.jobs.get(job).plan == making.plan(making.request(seed=2**64 - 1))


def test_retry_times_keep_the_later_wish(ledger: Ledger) -> None:
    """Put back with a time, a job is not due before it."""
    (job,) = accepted(ledger)
    ledger.jobs.take(A)
    ledger.jobs.put_back(job, reason="x", not_before=datetime.now(UTC) + timedelta(days=999))
    assert ledger.jobs.take(A) is None


def test_a_second_opening_finds_everything(tmp_path: Path) -> None:
    """Migrations run once; rows stay."""
    for _ in range(2):
        opened = Ledger.open(tmp_path / "queue.db")
        opened.requests.receive(making.arrival(), "r1")
        assert opened.counts().received == 1
        opened.close()


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    """An older program must not write into a newer schema."""
    Ledger.open(tmp_path / "queue.db").close()
    with sqlite3.connect(tmp_path / "queue.db") as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(LedgerError, match="newer ComfyGen"):
        Ledger.open(tmp_path / "queue.db")


def test_a_damaged_ledger_is_refused_with_instructions(tmp_path: Path) -> None:
    """It holds accepted requests: nobody replaces it silently."""
    (tmp_path / "queue.db").write_bytes(b"this is no database, but it is long enough to be looked at" * 100)
    with pytest.raises(LedgerError) as caught:
        Ledger.open(tmp_path / "queue.db")
    assert "backup" in str(caught.value.hint)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """A wrong state_dir must not damage somebody else's file."""
    with sqlite3.connect(tmp_path / "queue.db") as connection:
        connection.execute("PRAGMA application_id = 77")
    connection.close()
    with pytest.raises(LedgerError, match="another program"):
        Ledger.open(tmp_path / "queue.db")


def test_writing_is_durable_and_checked(ledger: Ledger) -> None:
    """FULL survives power cuts; foreign keys are enforced."""
    assert ledger.pages.number("PRAGMA synchronous") == 2
    assert ledger.pages.number("PRAGMA foreign_keys") == 1


def test_outputs_of_an_attempt_replace_those_of_the_one_before(ledger: Ledger) -> None:
    """A spool file that was lost is generated again, and counted once."""
    (job,) = accepted(ledger)
    ledger.jobs.take(A)
    ledger.jobs.generated(job, [OUTPUT, replace(OUTPUT, n=2)], {})
    ledger.jobs.put_back(job, reason="spool file missing", failed=True)
    ledger.jobs.take(A)
    ledger.jobs.generated(job, [OUTPUT], {})
    assert ledger.jobs.outputs(job) == [OUTPUT]
