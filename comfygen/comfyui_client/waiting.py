"""Waiting for one prompt: the history is the truth, the websocket only says when to look and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from comfygen.comfyui_client.feed import Listener
from comfygen.comfyui_client.overdue import check_queue, check_run, stalled, worker_dead
from comfygen.comfyui_client.values import Patience, Progress, PromptState, QueueState, Result
from comfygen.errors import ComfyUIUnavailable, PromptInterrupted, PromptLost

HINTED_GAP = 0.005  # at least this long between two looks when an end was announced …
NUDGED_GAP = 0.1  # … and when only something changed, so that a chatty socket cannot make us ask all the time


class Questions(Protocol):
    """What waiting needs to ask a server."""

    async def state(self, prompt_id: str) -> PromptState: ...
    async def result(self, prompt_id: str) -> Result | None: ...
    async def queue(self) -> QueueState: ...


def lost(*, begun: bool) -> PromptLost:
    """The error of a prompt that the server does not know any more; it had begun to run, or was waiting."""
    if begun:
        return PromptLost(
            "ComfyUI was restarted, or died, while it ran this prompt.", hint="ComfyUI's log tells why it ended."
        )
    return PromptLost(
        "ComfyUI does not know the prompt any more, which was waiting in its queue.",
        hint="ComfyUI was restarted, or somebody cleared its queue.",
    )


class Waiting:
    """One wait for one prompt, until its result is in the history or it is clear that none will come."""

    def __init__(
        self,
        prompt_id: str,
        *,
        questions: Questions,
        listener: Listener,
        patience: Patience,
        poll: float,
        no_progress_timeout: float | None,
        on_progress: Callable[[Progress], None] | None,
        queue_timeout: float | None = None,
        run_timeout: float | None = None,
    ) -> None:
        self._prompt_id = prompt_id
        self._questions = questions
        self._listener = listener
        self._patience = patience
        self._poll = poll
        self._no_progress_timeout = no_progress_timeout
        self._on_progress = on_progress
        self._queue_timeout, self._run_timeout = queue_timeout, run_timeout
        self._reported: Progress | None = None
        self._looked_at = 0.0
        self._failures = 0
        self._absences = 0
        self._pending_since: float | None = None
        self._running_since: float | None = None
        self._idle_since: float | None = None

    async def outcome(self) -> Result:
        """The result, whatever it is; errors only where there is none."""
        while True:
            result = await self._look()
            if result is not None and result.error is None:
                self._listener.tracker.finish()
            self._report()
            if result is not None:
                return result
            await self._pause()

    async def _look(self) -> Result | None:
        """Ask once. A server that does not answer is asked again, a bounded number of times."""
        self._looked_at, self._listener.look = _now(), False
        try:
            result = await self._ask()
        except ComfyUIUnavailable:
            self._failures += 1
            if self._failures >= self._patience.connection_failures:
                raise
            return None
        self._failures = 0
        return result

    async def _ask(self) -> Result | None:
        if self._end_announced():
            return await self._questions.result(self._prompt_id)
        state = await self._questions.state(self._prompt_id)
        if state is PromptState.FINISHED:
            result = await self._questions.result(self._prompt_id)
            if result is not None:
                return result
            state = PromptState.ABSENT  # taken out of the history in between
        await self._judge(state)
        return None

    def _end_announced(self) -> bool:
        """For a short while an announced end is believed: then only the history is asked, often."""
        ended = self._listener.ended_at
        return ended is not None and _now() - ended < self._patience.history_window

    async def _judge(self, state: PromptState) -> None:
        """Raise if nothing will come of it."""
        self._absences = self._absences + 1 if state is PromptState.ABSENT else 0
        if self._absences >= 2:
            raise self._lost()
        if state is PromptState.PENDING:
            self._pending_since = self._pending_since or _now()
            await self._check_worker()
            check_queue(_now() - self._pending_since, self._queue_timeout)
        elif state is PromptState.RUNNING:
            self._check_progress()

    def _lost(self) -> PromptLost | PromptInterrupted:
        if self._listener.cancelled:
            return PromptInterrupted("The prompt was cancelled before it ran.")
        return lost(begun=self._listener.begun)

    async def _check_worker(self) -> None:
        """A dead worker thread shows itself only so: nothing runs although something is pending, for seconds."""
        if not (await self._questions.queue()).dead_worker_suspect:
            self._idle_since = None
            return
        self._idle_since = _now() if self._idle_since is None else self._idle_since
        if _now() - self._idle_since > self._patience.dead_worker:
            raise worker_dead(self._patience.dead_worker)

    def _check_progress(self) -> None:
        """Silence counts from the start of the run. Where the websocket tells nothing about this prompt (it was
        submitted over an earlier connection), silence proves little, and more of it is allowed."""
        now = _now()
        self._running_since = now if self._running_since is None else self._running_since
        self._listener.ran = True
        check_run(now - self._running_since, self._run_timeout)
        if self._no_progress_timeout is None:
            return
        allowed = self._no_progress_timeout * (1 if self._listener.hears else self._patience.unheard)
        quiet = now - max(self._running_since, self._listener.heard_at or 0.0)
        if quiet > allowed:
            raise stalled(quiet, self._listener.tracker.progress.node)

    def _report(self) -> None:
        progress = self._listener.tracker.progress
        if self._on_progress is not None and progress != self._reported:
            self._reported = progress
            self._on_progress(progress)

    async def _pause(self) -> None:
        """Until the next look: the interval, or less when the websocket says that a look is worth it."""
        until = _now() + self._interval()
        while (left := self._due(until) - _now()) > 0:
            self._listener.wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._listener.wake.wait()
            self._report()

    def _due(self, until: float) -> float:
        """When the next look is due, as far as is known by now."""
        if not self._listener.look:
            return until
        return min(until, self._looked_at + (HINTED_GAP if self._end_announced() else NUDGED_GAP))

    def _interval(self) -> float:
        if self._end_announced():
            return self._patience.history_gap
        return self._patience.lost_gap if self._absences else self._poll


def _now() -> float:
    return asyncio.get_running_loop().time()
