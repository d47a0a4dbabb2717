"""The retry policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfygen.comfyui_client import QueueTimeout, RunTimeout
from comfygen.errors import (
    ComfyGenError,
    ComfyUIUnavailable,
    ExecutionFailed,
    OutOfMemory,
    OutputMissing,
    PreflightFailed,
    PromptInterrupted,
    PromptLost,
    PromptRefused,
    PromptStalled,
    RequestInvalid,
    StoreUnavailable,
)
from comfygend.retry import LONGEST_WAIT, Again, GiveUp, Quarantine, backoff, judge


@pytest.mark.parametrize("error", [ComfyUIUnavailable(), StoreUnavailable()])
def test_a_server_that_is_away_is_nothing_against_the_job(error: ComfyGenError) -> None:
    """Jobs wait, they do not fail, however often."""
    verdict = judge(error, failures=99, limit=3, chance=1.0)
    assert isinstance(verdict, Again)
    assert not verdict.counted


@pytest.mark.parametrize("error", [RequestInvalid(), PreflightFailed(), PromptRefused(), ExecutionFailed()])
def test_what_cannot_get_better_is_never_tried_again(error: ComfyGenError) -> None:
    """Invalid stays invalid."""
    assert judge(error, failures=0, limit=3, chance=0.5) == GiveUp()


@pytest.mark.parametrize("error", [PromptLost(), PromptInterrupted(), PromptStalled(), OutputMissing()])
def test_what_may_get_better_is_tried_up_to_the_limit(error: ComfyGenError) -> None:
    """The third failure of three is the last."""
    assert isinstance(judge(error, failures=1, limit=3, chance=0.5), Again)
    assert judge(error, failures=2, limit=3, chance=0.5) == GiveUp()


def test_out_of_memory_frees_the_models_first() -> None:
    """The second run usually works."""
    verdict = judge(OutOfMemory(), failures=0, limit=3, chance=1.0)
    assert isinstance(verdict, Again)
    assert verdict.free


def test_the_wait_doubles_up_to_a_cap_with_full_jitter() -> None:
    """Anything between nothing and the bound."""
    assert [backoff(n, 1.0) for n in (0, 1, 2, 3)] == [1.0, 2.0, 4.0, 8.0]
    assert backoff(1000, 1.0) == LONGEST_WAIT
    assert backoff(5, 0.0) == 0.0


def test_a_job_that_took_the_server_down_twice_is_quarantined() -> None:
    """Whatever its limit, and with a message of its own; being lost without having run is nothing of the kind."""
    assert judge(PromptLost(), failures=1, limit=99, chance=0.5, crashes=2) == Quarantine()
    assert isinstance(judge(PromptLost(), failures=1, limit=99, chance=0.5, crashes=1), Again)
    assert isinstance(judge(PromptStalled(), failures=1, limit=99, chance=0.5, crashes=2), Again)
    error = Quarantine().error()
    assert (error.code, error.retryable, bool(error.hint)) == ("quarantined", False, True)


def test_a_run_that_takes_too_long_fails_and_a_queue_that_does_is_left() -> None:
    """The first is what its request asked for; the second may be shorter elsewhere."""
    assert judge(RunTimeout(), failures=0, limit=3, chance=0.5) == GiveUp()
    assert isinstance(judge(QueueTimeout(), failures=0, limit=3, chance=0.5), Again)


@given(
    error=st.sampled_from([PromptLost(), OutOfMemory(), StoreUnavailable(), ExecutionFailed(), OutputMissing()]),
    failures=st.integers(0, 10**9),
    limit=st.integers(1, 100),
    chance=st.floats(0, 1),
    crashes=st.integers(0, 9),
)
def test_every_wait_is_bounded(error: ComfyGenError, failures: int, limit: int, chance: float, crashes: int) -> None:
    """Nobody waits for longer than the cap, and what counts is not tried beyond its limit."""
    verdict = judge(error, failures=failures, limit=limit, chance=chance, crashes=crashes)
    if isinstance(verdict, Again):
        assert 0 <= verdict.seconds <= LONGEST_WAIT
        assert not verdict.counted or failures + 1 < limit
