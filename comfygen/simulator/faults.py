"""Faults: what the simulated ComfyUI does wrong on demand, set while it runs.

A fault is `{"kind": …}` with, optionally, `times` (how often it strikes; 1), `match` (a text that the posted graph, the
file name or the path must contain), `seconds` and `message`. Faults that have struck often enough are gone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class Moment(StrEnum):
    """When a fault strikes, which is also what its `match` is compared with."""

    REQUEST = "any request: its path"
    POST = "POST /prompt: the graph"
    RUN = "the run of a prompt: the graph"
    VIEW = "GET /view: the file name"
    ALWAYS = "until it is cleared"


KINDS: dict[str, tuple[Moment, str]] = {
    "refuse_connections": (Moment.REQUEST, "answers 503, as a proxy does while the server is away"),
    "lost_ack": (Moment.POST, "takes the prompt, then cuts the connection without an answer"),
    "partial_validation": (Moment.POST, "answers 200 with node_errors and runs without the last output node"),
    "execution_error": (Moment.RUN, "a node raises RuntimeError (with `message`)"),
    "oom": (Moment.RUN, "a node runs out of memory"),
    "stall": (Moment.RUN, "runs for ever, until it is interrupted"),
    "slow": (Moment.RUN, "takes `seconds` longer"),
    "lose_queue": (Moment.RUN, "restarts in the middle of the run: queue, history and sockets are gone"),
    "websocket_silent": (Moment.RUN, "sends no message about the run over the open sockets"),
    "duplicate_events": (Moment.RUN, "sends every message about the run twice"),
    "missing_events": (Moment.RUN, "leaves out the messages that tell of outputs and of the end"),
    "late_history": (Moment.RUN, "writes the history entry `seconds` after execution_success"),
    "cached_empty": (Moment.RUN, "succeeds at once with all nodes cached and no outputs"),
    "truncated_view": (Moment.VIEW, "sends the first half of the file as if it were all"),
    "view_404": (Moment.VIEW, "does not find the file"),
    "dead_worker": (Moment.ALWAYS, "takes prompts and never runs them"),
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault and how often it will still strike."""

    kind: str
    times: int = 1
    match: str = ""
    seconds: float = 1.0
    message: str = "simulated failure"

    @classmethod
    def from_json(cls, value: object) -> Fault:
        """Raises ValueError with a sentence for whoever set it."""
        if not isinstance(value, Mapping) or str(value.get("kind")) not in KINDS:
            raise ValueError(f"A fault is an object with a kind: {', '.join(KINDS)}.")
        for key, given in value.items():
            if key != "kind" and not _usable(key, given):
                raise ValueError(f"{key!r} is no setting of a fault, or its value {given!r} cannot be used.")
        return cls(**value)


def _usable(key: str, value: object) -> bool:
    """Whether this is a setting, and a value that it can have."""
    match key, value:
        case "times" | "seconds", bool():
            return False
        case "times", int():
            return value >= 1
        case "seconds", int() | float():
            return 0 <= value < math.inf
        case "match" | "message", str():
            return True
    return False


class Faults:
    """All faults that are set, oldest first."""

    def __init__(self, faults: Iterable[Fault | Mapping[str, Any]] = ()) -> None:
        self._faults = [fault if isinstance(fault, Fault) else Fault.from_json(fault) for fault in faults]

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def has(self, kind: str) -> bool:
        """Whether a fault that lasts is set; it is not used up."""
        return any(fault.kind == kind for fault in self._faults)

    def expects(self, moment: Moment) -> bool:
        """Whether any fault waits for this moment; spares the text when none does."""
        return any(KINDS[fault.kind][0] is moment for fault in self._faults)

    def take(self, moment: Moment, text: str) -> dict[str, Fault]:
        """The faults that strike now, by kind; each has one strike less afterwards."""
        struck: dict[str, Fault] = {}
        left = []
        for fault in self._faults:
            if KINDS[fault.kind][0] is moment and fault.match in text and fault.kind not in struck:
                struck[fault.kind] = fault
                fault = replace(fault, times=fault.times - 1)
            if fault.times > 0:
                left.append(fault)
        self._faults = left
        return struck

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._faults]
