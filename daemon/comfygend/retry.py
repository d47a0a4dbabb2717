"""The retry policy, one pure function: what becomes of a job after an error."""

from __future__ import annotations

from dataclasses import dataclass

from comfygen.errors import ComfyGenError, ComfyUIUnavailable, OutOfMemory, PromptLost, StoreError

FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
CRASHES = 2  # so often ComfyUI may die with the same job running


class Quarantined(ComfyGenError):
    """ComfyUI died each time it ran this job."""

    code = "quarantined"


@dataclass(frozen=True, kw_only=True)
class Again:
    """Try again after `seconds`. `counted`: it counts against the job. `free`: unload the models first."""

    seconds: float
    counted: bool = True
    free: bool = False


@dataclass(frozen=True, kw_only=True)
class GiveUp:
    """Never again: the job fails with this error."""


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """Never again, whatever its limit: it takes the server down, and with it the jobs of everybody else."""

    def error(self) -> Quarantined:
        """The error that the job fails with."""
        return Quarantined(
            f"ComfyUI died {CRASHES} times while it ran this job, so it is not run again.",
            hint="Look into ComfyUI's log for the crash. A smaller size, fewer frames or another model may help; "
            "`comfygen retry` runs it once more.",
        )


def backoff(failures: int, chance: float, *, first: float = FIRST_WAIT, longest: float = LONGEST_WAIT) -> float:
    """Seconds to wait after `failures` failures in a row: exponential, capped, with full jitter by `chance` in 0..1."""
    return float(min(longest, first * 2.0 ** min(failures, 30))) * chance


def judge(
    error: ComfyGenError, *, failures: int, limit: int, chance: float, crashes: int = 0
) -> Again | GiveUp | Quarantine:
    """What to do after `error`, when the job had failed `failures` times before and may be tried `limit` times.

    `crashes`: how often ComfyUI has died while it ran the job, this time included. Where the other side is away the job
    waits, and that is nothing against the job.
    """
    if isinstance(error, ComfyUIUnavailable | StoreError) and error.retryable:
        return Again(seconds=backoff(failures, chance), counted=False)
    if isinstance(error, PromptLost) and crashes >= CRASHES:
        return Quarantine()
    if not error.retryable or failures + 1 >= limit:
        return GiveUp()
    return Again(seconds=backoff(failures, chance), free=isinstance(error, OutOfMemory))
