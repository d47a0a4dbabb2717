"""Cases: what is broken, and what has to come of a request all the same. One table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

REQUEST: Final = "workflow: flux-dev\nprompt: a mountain lake, {name}\nseed: 7\nwidth: 64\nheight: 64\nsteps: 2\n"
UNUSABLE: Final = "workflow: flux-dev\nprompt: a robot, {name}\nstepps: 2\n"
STALL_SECONDS: Final = 2.0
ATTEMPTS: Final = 3
FETCHES: Final = 3  # so often an output is fetched before it counts as lost


class Act(StrEnum):
    """What is done while the request is on its way, besides the faults."""

    WATCH = "nothing"
    KILL = "as soon as ComfyUI runs it, the service is killed (kill -9) and started again"
    HEAL = "as soon as it is posted a second time, all faults are cleared"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request under faults. It has to end as done with one output, or with the error `code`.

    `prompts`: how many prompts ComfyUI accepts; `sampled`: how often the GPU does the work.
    """

    name: str
    faults: tuple[Mapping[str, Any], ...] = ()
    code: str | None = None
    prompts: int = 1
    sampled: int = 1
    act: Act = Act.WATCH
    request: str = REQUEST

    @property
    def promise(self) -> str:
        """What has to come of it, in words."""
        ending = f"failed with {self.code}" if self.code else "done"
        tries = f", {self.prompts} prompts" if self.prompts > 1 else ""
        return f"{ending}, {times(self.sampled)}{tries}"


def times(sampled: int) -> str:
    """How often something was generated, in words."""
    return {0: "never generated", 1: "generated once"}.get(sampled, f"generated {sampled} times")


def fault(kind: str, **settings: Any) -> tuple[Mapping[str, Any], ...]:
    """One fault, as the simulator takes it."""
    return ({"kind": kind, **settings},)


CASES: Final = (
    Case(name="no fault"),
    Case(name="unusable request", request=UNUSABLE, code="request_invalid", prompts=0, sampled=0),
    Case(name="ComfyUI away for a moment", faults=fault("refuse_connections", match="/prompt", times=2)),
    Case(name="lost acknowledgement", faults=fault("lost_ack")),
    Case(name="partial validation", faults=fault("partial_validation"), code="prompt_refused", sampled=0),
    Case(name="node error", faults=fault("execution_error"), code="execution_failed", sampled=0),
    Case(name="out of memory", faults=fault("oom"), prompts=2),
    Case(
        name="out of memory every time",
        faults=fault("oom", times=ATTEMPTS),
        code="out_of_memory",
        prompts=ATTEMPTS,
        sampled=0,
    ),
    Case(name="slow run", faults=fault("slow", seconds=STALL_SECONDS / 4)),
    Case(name="stalled run", faults=fault("stall"), prompts=2),
    Case(name="dead worker thread", faults=fault("dead_worker"), act=Act.HEAL, prompts=2),
    Case(name="restart that loses queue and history", faults=fault("lose_queue"), prompts=2),
    Case(name="restart every time", faults=fault("lose_queue", times=2), code="quarantined", prompts=2, sampled=0),
    Case(name="silent websocket", faults=fault("websocket_silent")),
    Case(name="duplicate events", faults=fault("duplicate_events")),
    Case(name="missing events", faults=fault("missing_events")),
    Case(name="late history", faults=fault("late_history", seconds=0.5)),
    Case(name="cached outputs that are gone", faults=fault("cached_empty"), prompts=2),
    Case(name="truncated download", faults=fault("truncated_view")),
    Case(name="output not found", faults=fault("view_404")),
    Case(name="output never found", faults=fault("view_404", times=FETCHES), prompts=2),
    Case(name="service killed in mid job", faults=fault("slow", seconds=STALL_SECONDS / 2), act=Act.KILL),
)
