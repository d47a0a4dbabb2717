"""The retry policy, one pure function: what becomes of a job after an error."""

from __future__ import annotations

from dataclasses import dataclass

from comfygen.errors import ComfyGenError, ComfyUIUnavailable, OutOfMemory, StoreError

FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0


@dataclass(frozen=True, kw_only=True)
class Again:
    """Try again after `seconds`. `counted`: it counts against the job. `free`: unload the models first."""

    seconds: float
    counted: bool = True
    free: bool = False


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """Never again: the job fails with this error."""


def backoff(failures: int, chance: float, *, first: float = FIRST_WAIT, longest: float = LONGEST_WAIT) -> float:
    """Seconds to wait after `failures` failures in a row: exponential, capped, with full jitter by `chance` in 0..1."""
    return float(min(longest, first * 2.0 ** min(failures, 30))) * chance


def judge(error: ComfyGenError, *, failures: int, limit: int, chance: float) -> Again | GiveUp:
    """What to do after `error`, when the job had failed `failures` times before and may be tried `limit` times.

    Where the other side is away the job waits, and that is nothing against the job.
    """
    if isinstance(error, ComfyUIUnavailable | StoreError) and error.retryable:
        return Again(seconds=backoff(failures, chance), counted=False)
    if not error.retryable or failures + 1 >= limit:
        return GiveUp()
    return Again(seconds=backoff(failures, chance), free=isinstance(error, OutOfMemory))
