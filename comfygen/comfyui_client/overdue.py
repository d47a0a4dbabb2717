"""Overdue: a prompt that waits or runs for longer than it may. Whoever gave it away takes it back by its id."""

from __future__ import annotations

from comfygen.errors import PromptStalled


class QueueTimeout(PromptStalled):
    """The prompt waited for too long in ComfyUI's queue."""

    code = "queue_timeout"


class RunTimeout(PromptStalled):
    """The prompt ran for longer than its request allows."""

    code = "run_timeout"
    retryable = False


class WorkerDead(PromptStalled):
    """ComfyUI takes prompts, and runs none of them."""

    code = "worker_dead"


def check_queue(seconds: float, allowed: float | None) -> None:
    """Raise QueueTimeout for a prompt that has waited for so long."""
    if allowed is not None and seconds > allowed:
        raise QueueTimeout(
            f"The prompt waited for {seconds:.0f} s in ComfyUI's queue; {allowed:g} s are allowed.",
            hint="Other prompts are in front of it: clear ComfyUI's queue, add a backend, or raise "
            "`limits.queue_timeout`.",
        )


def check_run(seconds: float, allowed: float | None) -> None:
    """Raise RunTimeout for a prompt that has run for so long."""
    if allowed is not None and seconds > allowed:
        raise RunTimeout(
            f"The prompt ran for {seconds:.0f} s; its request allows {allowed:g} s.",
            hint="Raise `timeout` in the request, or ask for less: fewer steps or frames, a smaller size.",
        )


def stalled(seconds: float, node: str | None) -> PromptStalled:
    """The error of a prompt that runs and does not get on."""
    where = f" in node {node}" if node else ""
    return PromptStalled(
        f"The prompt runs, but made no progress{where} for {seconds:.0f} s.",
        hint="Look into ComfyUI's log. Where a node is honestly that slow, raise `limits.stall_seconds`.",
    )


def worker_dead(seconds: float) -> WorkerDead:
    """The error of a prompt that waits while nothing runs."""
    return WorkerDead(
        f"ComfyUI runs nothing although prompts are pending, for {seconds:g} s.",
        hint="Its worker thread has died: restart ComfyUI.",
    )
