"""Waiting for one prompt, step by step, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from comfygen.comfyui_client import (
    Patience,
    Progress,
    PromptState,
    QueueState,
    QueueTimeout,
    Result,
    RunTimeout,
    WorkerDead,
)
from comfygen.comfyui_client import waiting as waiting_module
from comfygen.comfyui_client.feed import Listener
from comfygen.comfyui_client.waiting import Waiting
from comfygen.errors import ComfyUIUnavailable, PromptInterrupted, PromptLost, PromptStalled

DONE = Result(prompt_id="p", status="success")
QUICK = Patience(history_gap=0.001, history_window=30, lost_gap=0.001, dead_worker=0.02)
RUNNING, PENDING, FINISHED, ABSENT = PromptState.RUNNING, PromptState.PENDING, PromptState.FINISHED, PromptState.ABSENT


class Script:
    """A server that answers by a list, the last answer again and again; None for a state is a server that is away."""

    def __init__(
        self, *, states: Iterable[PromptState | None] = (RUNNING,), results: Iterable[Result | None] = (DONE,)
    ) -> None:
        self.states, self.results = list(states), list(results)
        self.asked: list[str] = []
        self.then: Callable[[], None] | None = None
        self.now_queued = QueueState(pending=("p",))

    async def state(self, prompt_id: str) -> PromptState:
        self.asked.append("state")
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if self.then is not None:
            self.then()
        if state is None:
            raise ComfyUIUnavailable
        return state

    async def result(self, prompt_id: str) -> Result | None:
        self.asked.append("result")
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]

    async def queue(self) -> QueueState:
        self.asked.append("queue")
        return self.now_queued


async def _wait(
    script: Script,
    listener: Listener | None = None,
    *,
    patience: Patience = QUICK,
    poll: float = 0.002,
    no_progress_timeout: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    queue_timeout: float | None = None,
    run_timeout: float | None = None,
) -> Result:
    waiting = Waiting(
        "p",
        questions=script,
        listener=listener or Listener("p"),
        patience=patience,
        poll=poll,
        no_progress_timeout=no_progress_timeout,
        on_progress=on_progress,
        queue_timeout=queue_timeout,
        run_timeout=run_timeout,
    )
    async with asyncio.timeout(30):
        return await waiting.outcome()


def _ended() -> Listener:
    listener = Listener("p", ["1"])
    listener.take("execution_success", {}, asyncio.get_running_loop().time())
    return listener


async def test_an_announced_end_asks_only_the_history() -> None:
    """Where the websocket works, one look is enough."""
    script = Script()
    await _wait(script, _ended())
    assert script.asked == ["result"]


async def test_a_history_that_lags_is_asked_again() -> None:
    """`execution_success` can be earlier than the history entry."""
    script = Script(results=[None, None, DONE])
    assert await _wait(script, _ended(), poll=30) == DONE
    assert script.asked == ["result"] * 3


async def test_an_end_that_was_a_lie_is_forgotten() -> None:
    """After a while without a history entry the server is asked again where the prompt stands."""
    script = Script(states=[FINISHED], results=[None])
    script.then = lambda: script.results.append(DONE)
    assert await _wait(script, _ended(), patience=replace(QUICK, history_window=0.005)) == DONE
    assert script.asked[0] == "result"
    assert "state" in script.asked


async def test_without_a_websocket_the_end_is_found_by_asking() -> None:
    """Nothing is ever announced, and the result comes all the same."""
    script = Script(states=[PENDING, RUNNING, FINISHED])
    script.now_queued = QueueState(running=("other",), pending=("p",))
    assert await _wait(script) == DONE
    assert script.asked == ["state", "queue", "state", "state", "result"]


async def test_a_prompt_is_lost_only_at_the_second_look() -> None:
    """Once absent may be a moment between two lists; absent twice is lost."""
    flicker = Script(states=[ABSENT, RUNNING, ABSENT, FINISHED])
    assert await _wait(flicker) == DONE
    with pytest.raises(PromptLost):
        await _wait(Script(states=[RUNNING, ABSENT]))


async def test_a_finished_prompt_without_history_is_lost() -> None:
    """Its entry was deleted before it could be read."""
    with pytest.raises(PromptLost):
        await _wait(Script(states=[FINISHED], results=[None]))


async def test_a_prompt_that_we_cancelled_is_not_lost_but_interrupted() -> None:
    """A pending prompt leaves no trace when it is deleted; whoever deleted it knows."""
    listener = Listener("p")
    listener.cancelled = True
    with pytest.raises(PromptInterrupted, match="before it ran"):
        await _wait(Script(states=[ABSENT]), listener)


async def test_a_short_absence_of_the_server_is_outlasted() -> None:
    """Two failed looks, then it is back."""
    assert await _wait(Script(states=[None, None, RUNNING, None, None, FINISHED])) == DONE


async def test_a_server_that_stays_away_is_given_up() -> None:
    """Three failed looks in a row."""
    script = Script(states=[None])
    with pytest.raises(ComfyUIUnavailable):
        await _wait(script)
    assert script.asked == ["state"] * 3


async def test_a_dead_worker_is_recognised() -> None:
    """Nothing runs although something is pending, for longer than a moment."""
    with pytest.raises(PromptStalled, match="runs nothing") as caught:
        await _wait(Script(states=[PENDING]))
    assert "restart ComfyUI" in (caught.value.hint or "")


async def test_a_busy_server_may_keep_a_prompt_waiting() -> None:
    """Pending behind others is no stall, however long."""
    script = Script(states=[PENDING] * 20 + [FINISHED])
    script.now_queued = QueueState(running=("other",), pending=("p",))
    assert await _wait(script, no_progress_timeout=0.0001) == DONE


async def test_a_run_that_falls_silent_is_stalled() -> None:
    """It runs, it was heard, and then nothing."""
    listener = Listener("p")
    listener.take("executing", {"node": "5"}, asyncio.get_running_loop().time())
    with pytest.raises(PromptStalled, match="in node 5"):
        await _wait(Script(), listener, no_progress_timeout=0.02)


async def test_progress_keeps_a_run_alive() -> None:
    """Every message about the prompt starts the time anew."""
    listener, script = Listener("p"), Script(states=[RUNNING] * 30 + [FINISHED])
    script.then = lambda: listener.take("progress", {}, asyncio.get_running_loop().time())
    assert await _wait(script, listener, no_progress_timeout=10) == DONE


async def test_silence_of_a_prompt_that_cannot_be_heard_proves_little() -> None:
    """Events of prompts of an earlier connection are not heard: there, more patience is right."""
    script = Script(states=[RUNNING] * 10 + [FINISHED])
    assert await _wait(script, patience=replace(QUICK, unheard=1e9), no_progress_timeout=1e-6) == DONE


async def test_even_a_prompt_that_cannot_be_heard_stalls_at_last() -> None:
    """More patience is not endless patience."""
    with pytest.raises(PromptStalled):
        await _wait(Script(), no_progress_timeout=0.005)


async def test_progress_is_told_once_and_ends_with_the_whole() -> None:
    """The same progress is not told twice; the last one is the end, even if nothing announced it."""
    told: list[Progress] = []
    listener = Listener("p", ["1", "2"])
    await _wait(Script(states=[RUNNING, RUNNING, FINISHED]), listener, on_progress=told.append)
    assert [progress.nodes_done for progress in told] == [0, 2]


async def test_a_nudge_brings_the_next_look_forward() -> None:
    """A change of the queue is reason enough to ask, long before the next poll."""
    listener, script = Listener("p"), Script(states=[RUNNING, FINISHED])
    script.then = listener.nudge
    assert await _wait(script, listener, poll=3600) == DONE


async def test_an_end_cuts_the_pause_after_a_nudge_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nudge may wait a little, an announced end need not."""
    monkeypatch.setattr(waiting_module, "NUDGED_GAP", 3600.0)
    loop, listener, script = asyncio.get_running_loop(), Listener("p"), Script()

    def both() -> None:
        listener.nudge()
        loop.call_soon(listener.take, "execution_success", {}, loop.time())

    script.then = both
    await _wait(script, listener, poll=3600)
    assert script.asked == ["state", "result"]


async def test_a_prompt_that_waits_for_too_long_in_the_queue_is_overdue() -> None:
    """While others run; its message names both times, its hint the setting."""
    script = Script(states=[PENDING])
    script.now_queued = QueueState(running=("other",), pending=("p",))
    with pytest.raises(QueueTimeout, match=r"0\.01 s are allowed") as caught:
        await _wait(script, queue_timeout=0.01)
    assert "limits.queue_timeout" in str(caught.value.hint)


async def test_a_prompt_that_runs_for_too_long_is_overdue() -> None:
    """However lively it is; that is what its request asked for, so it is not tried again."""
    listener = Listener("p")
    script = Script()
    script.then = lambda: listener.take("progress", {}, asyncio.get_running_loop().time())
    with pytest.raises(RunTimeout, match="its request allows") as caught:
        await _wait(script, listener, run_timeout=0.01, no_progress_timeout=30)
    assert (caught.value.retryable, "timeout" in str(caught.value.hint)) == (False, True)


async def test_waiting_in_the_queue_is_no_running() -> None:
    """The time of a run counts from its start."""
    script = Script(states=[PENDING] * 20 + [FINISHED])
    script.now_queued = QueueState(running=("other",), pending=("p",))
    assert await _wait(script, run_timeout=0.001) == DONE


async def test_a_dead_worker_has_a_message_of_its_own() -> None:
    """Only a restart of ComfyUI helps."""
    with pytest.raises(WorkerDead) as caught:
        await _wait(Script(states=[PENDING]))
    assert "restart ComfyUI" in str(caught.value.hint)


@pytest.mark.parametrize(("first", "word"), [(RUNNING, "while it ran"), (PENDING, "waiting in its queue")])
async def test_what_is_lost_while_it_runs_and_while_it_waits_is_told_apart(first: PromptState, word: str) -> None:
    """A restart of the server, or a queue that somebody cleared."""
    listener = Listener("p")
    with pytest.raises(PromptLost, match=word) as caught:
        await _wait(Script(states=[first, ABSENT]), listener)
    assert (listener.begun, bool(caught.value.hint)) == (first is RUNNING, True)


async def test_what_was_said_to_have_ended_was_not_killed() -> None:
    """Its history was cleared before we looked."""
    listener = _ended()
    with pytest.raises(PromptLost):
        await _wait(Script(states=[ABSENT], results=[None]), listener, patience=replace(QUICK, history_window=0.001))
    assert not listener.begun
