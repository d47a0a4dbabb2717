"""Orders in the ledger: cancel, try again, pause, drain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfygen.errors import NotFound
from comfygend.ledger import Conflict, Job, JobState, Ledger, Output, RequestState, Switch, Withdrawn
from tests import making
from tests.unit.comfygend.test_ledger import OUTPUT, A, accepted

BY = "a person"
ERROR = {"code": "execution_failed", "message": "the lake is dry"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ticks = making.clock()
    opened = Ledger.open(tmp_path / "queue.db", now=lambda: next(ticks))
    yield opened
    opened.close()


def reach(ledger: Ledger, state: JobState) -> str:
    """The only job of request r1, brought into a state."""
    (job,) = accepted(ledger)
    if state is not JobState.QUEUED:
        ledger.jobs.take(A)
    if state is JobState.SUBMITTED:
        ledger.jobs.submitted(job)
    elif state is JobState.FAILED:
        ledger.jobs.failed(job, ERROR)
    elif state is not JobState.QUEUED:
        ledger.jobs.generated(job, [OUTPUT], {})
    if state is JobState.PUBLISHED:
        ledger.jobs.published(job, {1: "url"})
    return job


def ended(ledger: Ledger, request: str = "r1") -> None:
    """The request is put away."""
    ledger.requests.filed(request)


# -- cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "recalled", "unwanted"),
    [(JobState.QUEUED, 0, 0), (JobState.SUBMITTED, 1, 0), (JobState.GENERATED, 0, 1)],
)
def test_an_open_request_is_cancelled_with_its_jobs(
    ledger: Ledger, state: JobState, recalled: int, unwanted: int
) -> None:
    """What a backend has is to be recalled, what lies in the spool is unwanted."""
    job = reach(ledger, state)
    done = ledger.orders.cancel("r1", by=BY)
    assert (done.jobs, done.ended) == ((job,), True)
    assert ledger.jobs.get(job).state is JobState.CANCELLED
    row = ledger.requests.get("r1")
    assert (row.state, row.error and row.error["code"]) == (RequestState.CANCELLED, "cancelled")
    assert (len(ledger.orders.recalls(A)), len(ledger.orders.unwanted())) == (recalled, unwanted)
    assert [r.id for r in ledger.requests.unfiled()] == ["r1"]


@pytest.mark.parametrize("state", [JobState.PUBLISHED, JobState.FAILED])
@pytest.mark.parametrize("subject", ["request", "job"])
def test_what_has_ended_cannot_be_cancelled(ledger: Ledger, state: JobState, subject: str) -> None:
    """And nothing about it changes."""
    job = reach(ledger, state)
    with pytest.raises(Conflict, match="already done") as caught:
        ledger.orders.cancel("r1" if subject == "request" else job, by=BY)
    assert (ledger.jobs.get(job).state, bool(caught.value.hint)) == (state, True)


def test_cancelling_twice_changes_nothing(ledger: Ledger) -> None:
    """An acknowledgement may have been lost."""
    job = reach(ledger, JobState.QUEUED)
    ledger.orders.cancel("r1", by=BY)
    assert ledger.orders.cancel("r1", by=BY).jobs == ()
    assert ledger.orders.cancel(job, by=BY).told() == "It was cancelled already."


def test_one_job_of_several_is_cancelled_and_the_rest_go_on(ledger: Ledger) -> None:
    """The request is done when the others are."""
    first, second = accepted(ledger, {}, {"seed": 8})
    assert ledger.orders.cancel(first, by=BY).told() == f"Cancelled 1 job of request r1: {first}."
    assert ledger.requests.get("r1").state is RequestState.ACCEPTED
    ledger.jobs.take(A)
    ledger.jobs.generated(second, [OUTPUT], {})
    ledger.jobs.published(second, {1: "url"})
    assert ledger.requests.get("r1").state is RequestState.DONE


def test_every_job_cancelled_one_by_one_is_the_request_cancelled(ledger: Ledger) -> None:
    """With an error that says so: it was not another service."""
    for job in accepted(ledger, {}, {"seed": 8}):
        ledger.orders.cancel(job, by=BY)
    row = ledger.requests.get("r1")
    assert (row.state, row.error and row.error["code"]) == (RequestState.CANCELLED, "cancelled")


def test_an_id_of_a_person_cancels_the_jobs_of_that_name(ledger: Ledger) -> None:
    """And none of the others in the same file."""
    may, june = accepted(ledger, {"id": "may"}, {"id": "june"})
    assert ledger.orders.cancel("may", by=BY).jobs == (may,)
    assert ledger.jobs.get(june).state is JobState.QUEUED


def test_a_name_that_nobody_has_is_not_found(ledger: Ledger) -> None:
    """With where to look."""
    with pytest.raises(NotFound, match="nobody") as caught:
        ledger.orders.cancel("nobody", by=BY)
    assert "comfygen jobs" in str(caught.value.hint)


def test_a_request_that_is_not_prepared_yet_is_cancelled_and_never_accepted(ledger: Ledger) -> None:
    """Whoever prepares it in this moment learns of it."""
    ledger.requests.receive(making.arrival(), "r1")
    ledger.requests.claimed("r1")
    assert ledger.orders.cancel("r1", by=BY).told() == "Request r1 is cancelled."
    with pytest.raises(Withdrawn):
        ledger.requests.accept("r1", [making.new_job()])
    assert ledger.jobs.of_request("r1") == []


def test_whoever_works_on_a_cancelled_job_learns_of_it(ledger: Ledger) -> None:
    """Whatever it wants to write down next."""
    job = reach(ledger, JobState.SUBMITTED)
    ledger.orders.cancel(job, by=BY)
    steps: tuple[Callable[[], object], ...] = (
        lambda: ledger.jobs.submitted(job),
        lambda: ledger.jobs.generated(job, [OUTPUT], {}),
        lambda: ledger.jobs.failed(job, ERROR),
        lambda: ledger.jobs.put_back(job, reason="x"),
    )
    for step in steps:
        with pytest.raises(Withdrawn):
            step()


def test_a_request_that_asks_for_a_cancellation_is_done_by_it(ledger: Ledger) -> None:
    """In the same transaction; its result says what was cancelled."""
    job = reach(ledger, JobState.QUEUED)
    ledger.requests.receive(making.arrival("cancel.yaml", identity="2:2"), "r2")
    ledger.orders.cancel(job, by=BY, answering="r2")
    row = ledger.requests.get("r2")
    assert (row.state, row.notes) == (RequestState.DONE, (f"Cancelled 1 job of request r1: {job}.",))


def test_recalls_and_discards_are_remembered_until_they_are_done(ledger: Ledger) -> None:
    """A prompt that was sent after all is recalled too; one that another service has is not."""
    job = reach(ledger, JobState.SUBMITTED)
    held = ledger.jobs.get(job)
    ledger.orders.recall(held)
    assert ledger.orders.recalls(A) == []
    ledger.orders.cancel(job, by=BY)
    (prompt,) = ledger.orders.recalls(A)
    ledger.orders.recalled(prompt)
    assert ledger.orders.recalls(A) == []
    ledger.orders.recall(held)
    assert ledger.orders.recalls(A) == [prompt]


def test_whoever_holds_an_attempt_of_a_job_that_was_begun_anew_learns_of_it(ledger: Ledger) -> None:
    """Its own prompt is recalled, and never that of the attempt after it."""
    job = reach(ledger, JobState.SUBMITTED)
    held = ledger.jobs.get(job)
    ledger.jobs.hold(held)
    ledger.jobs.put_back(job, reason="x")
    new = ledger.jobs.take(A)
    assert new is not None
    with pytest.raises(Withdrawn):
        ledger.jobs.hold(held)
    assert (ledger.orders.recall(held), ledger.orders.recall(new)) == (False, True)
    assert ledger.orders.recalls(A) == [held.prompt_id]


def test_what_another_service_has_is_neither_recalled_nor_discarded(ledger: Ledger) -> None:
    """Its prompt and its outputs are the same as ours."""
    job = reach(ledger, JobState.GENERATED)
    ledger.requests.withdraw("r1")
    ledger.orders.recall(ledger.jobs.get(job))
    assert (ledger.orders.recalls(A), ledger.orders.unwanted()) == ([], [])


# -- trying again -----------------------------------------------------------------------------------------------------


def three(ledger: Ledger) -> tuple[Job, Job, Job]:
    """A request whose first job is published, while the second failed and the third was cancelled."""
    first, second, third = accepted(ledger, {}, {"seed": 8}, {"seed": 9})
    ledger.orders.cancel(third, by=BY)
    for _ in range(2):
        ledger.jobs.take(A)
    ledger.jobs.generated(first, [OUTPUT], {})
    ledger.jobs.published(first, {1: "url"})
    ledger.jobs.failed(second, ERROR)
    ended(ledger)
    return ledger.jobs.get(first), ledger.jobs.get(second), ledger.jobs.get(third)


def again(ledger: Ledger, *jobs: dict[str, Any]) -> tuple[str, ...]:
    """Prepare r1 anew."""
    ledger.orders.retry("r1")
    return ledger.requests.accept("r1", [making.new_job(**job) for job in jobs])


def test_a_retry_runs_what_failed_and_keeps_what_is_published(ledger: Ledger) -> None:
    """Under the same ids; attempts are counted on, so that no prompt id is used twice."""
    first, second, third = three(ledger)
    assert again(ledger, {}, {"seed": 8}, {"seed": 9}) == (second.id, third.id)
    assert ledger.jobs.get(first.id).state is JobState.PUBLISHED
    taken = ledger.jobs.take(A)
    assert taken is not None
    assert (taken.id, taken.attempt, taken.failures, taken.error) == (second.id, 2, 0, None)
    row = ledger.requests.get("r1")
    assert (row.state, row.error, row.filed, row.tries) == (RequestState.ACCEPTED, None, False, 2)


def test_a_retry_plans_anew(ledger: Ledger) -> None:
    """With presets and workflows as they are now: they may be what was mended."""
    three(ledger)
    _, changed = again(ledger, {}, {"seed": 8}, {"seed": 10})
    assert ledger.jobs.get(changed).plan.seed == 10


def test_jobs_that_are_not_wanted_any_more_do_not_fail_the_request_again(ledger: Ledger) -> None:
    """Their `id:` was done by another request meanwhile, say."""
    _, second, _ = three(ledger)
    again(ledger, {})
    assert (ledger.jobs.get(second.id).state, ledger.requests.get("r1").state) == (
        JobState.CANCELLED,
        RequestState.DONE,
    )


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.SUBMITTED, JobState.GENERATED, JobState.PUBLISHED])
def test_what_has_not_failed_is_not_tried_again(ledger: Ledger, state: JobState) -> None:
    """It runs, or it is done."""
    reach(ledger, state)
    with pytest.raises(Conflict, match="nothing of it has failed"):
        ledger.orders.retry("r1")


def test_a_request_that_is_being_put_away_is_tried_again_later(ledger: Ledger) -> None:
    """Else it would be marked as put away while it runs."""
    reach(ledger, JobState.FAILED)
    with pytest.raises(Conflict, match="being put away"):
        ledger.orders.retry("r1")
    ended(ledger)
    assert ledger.orders.retry("r1").state is RequestState.RECEIVED


def test_a_file_that_was_never_read_cannot_be_tried_again(ledger: Ledger) -> None:
    """A symbolic link, say: the ledger has nothing of it."""
    ledger.requests.receive(making.arrival(body=b""), "r1")
    ledger.requests.reject("r1", {"code": "inbox_refused", "message": "It is a symbolic link."})
    ended(ledger)
    with pytest.raises(Conflict, match="never read"):
        ledger.orders.retry("r1")


def test_a_file_moved_back_is_the_same_request_tried_again(ledger: Ledger) -> None:
    """Unchanged it keeps its id; mended it is a new request."""
    reach(ledger, JobState.FAILED)
    ended(ledger)
    row = ledger.requests.receive(making.arrival(identity="r1"), "r2")
    assert (row.id, row.state, row.claimed, row.tries) == ("r1", RequestState.RECEIVED, False, 2)
    mended = making.arrival(identity="r1", body=making.TEXT + b"\n")
    assert ledger.requests.receive(mended, "r3").id == "r3"


def test_an_object_that_a_person_has_cancelled_is_not_taken_up_again(ledger: Ledger) -> None:
    """It lies in the bucket still: it is put away, not run. One that was another service's is run."""
    found = replace(making.arrival(), id="r1")
    ledger.requests.receive(found, "x")
    ledger.orders.cancel("r1", by=BY)
    ended(ledger)
    assert ledger.requests.receive(found, "x").state is RequestState.CANCELLED
    assert [row.id for row in ledger.requests.unfiled()] == ["r1"]


# -- switches ---------------------------------------------------------------------------------------------------------


def test_while_paused_nothing_is_taken(ledger: Ledger) -> None:
    """And nothing counts as due but what a backend has already."""
    first, _ = accepted(ledger, {}, {"seed": 8})
    ledger.jobs.take(A)
    ledger.orders.switch(Switch.PAUSED, on=True)
    assert (ledger.jobs.take(A), ledger.counts().due) == (None, 1)
    ledger.orders.switch(Switch.PAUSED, on=False)
    assert (ledger.counts().due, ledger.jobs.take(A) is not None, ledger.jobs.get(first).attempt) == (2, True, 1)


def test_a_switch_stays_on_over_a_restart(tmp_path: Path) -> None:
    """And says since when; switched on again, it is still since then."""
    for _ in range(2):
        ledger = Ledger.open(tmp_path / "queue.db", now=lambda: next(making.clock()))
        ledger.orders.switch(Switch.DRAINING, on=True)
        told = ledger.orders.switched()
        ledger.close()
    assert told == {"draining": "2026-01-04T01:10:32.000000+00:00"}


# -- stories ----------------------------------------------------------------------------------------------------------


def test_the_story_of_a_job_has_everything(ledger: Ledger) -> None:
    """Transitions, attempts, outputs, and a seed with all its digits."""
    (job,) = accepted(ledger, {"seed": 2**64 - 1})
    ledger.jobs.take(A)
    ledger.jobs.generated(job, [replace(OUTPUT, n=1)], {"run_seconds": 1.5})
    told = ledger.stories.job(job)
    assert told is not None
    assert (told["seed"], told["state"], told["timings"]["run_seconds"]) == (2**64 - 1, "generated", 1.5)
    assert [step["after"] for step in told["transitions"]] == ["queued", "generated"]
    assert [(each["attempt"], each["backend"]) for each in told["attempts_made"]] == [(1, A)]
    assert [each["key"] for each in told["outputs"]] == [OUTPUT.key]


def test_jobs_are_listed_newest_first(ledger: Ledger) -> None:
    """By state, and so many."""
    old, older = accepted(ledger, {}, {"seed": 8}), accepted(ledger, {}, request="r2")
    assert [job["job"] for job in ledger.stories.jobs()] == [*older, *old]
    assert [job["job"] for job in ledger.stories.jobs(limit=1)] == [*older]
    ledger.orders.cancel("r2", by=BY)
    assert [job["job"] for job in ledger.stories.jobs(["cancelled", "failed"])] == [*older]


def test_the_story_of_a_request_has_its_jobs(ledger: Ledger) -> None:
    """And its own transitions."""
    reach(ledger, JobState.FAILED)
    told = ledger.stories.request("r1")
    assert told is not None
    assert [job["error"]["message"] for job in told["jobs"]] == ["the lake is dry"]
    assert [step["after"] for step in told["transitions"]] == ["received", "accepted", "failed"]
    assert (ledger.stories.request("r9"), ledger.stories.job("r9")) == (None, None)


def test_outputs_of_a_job_that_is_tried_again_are_forgotten(ledger: Ledger) -> None:
    """They were unwanted; the next run makes its own under the same keys."""
    job = reach(ledger, JobState.GENERATED)
    ledger.orders.cancel(job, by=BY)
    ended(ledger)
    again(ledger, {})
    outputs: list[Output] = ledger.jobs.outputs(job)
    assert (outputs, ledger.orders.unwanted()) == ([], [])
