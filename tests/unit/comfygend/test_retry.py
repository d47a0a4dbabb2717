"""The retry policy."""

from __future__ import annotations

import pytest

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
from comfygend.retry import LONGEST_WAIT, Again, GiveUp, backoff, judge


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
