"""What ComfyUI says, as values: the server, its queue, a prompt's state, its result and the files it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from comfygen.comfyui_client.shapes import as_list, as_mapping, as_number, as_text
from comfygen.errors import ComfyUIError


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the client waits for what, in seconds; tests shorten it."""

    heartbeat: float = 20.0  # a websocket that answers no ping within half of this is dead
    settle: float = 1.0  # submit waits this long for a websocket that is being opened
    reconnect: float = 0.2  # first pause before the websocket is opened again; doubles up to 10 s
    history_gap: float = 0.02  # between two looks into the history once the end was announced
    history_window: float = 5.0  # an announced end that is in no history by then was a lie
    lost_gap: float = 0.25  # between the two looks that make a prompt lost
    dead_worker: float = 10.0  # nothing runs although something is pending
    connection_failures: int = 3  # in a row: the server is gone
    unheard: float = (
        6.0  # where the websocket tells nothing about a prompt, `no_progress_timeout` is this many times longer
    )


class PromptState(StrEnum):
    """Where a prompt stands on the server."""

    PENDING = "pending"  # queued behind others
    RUNNING = "running"  # the worker has it
    FINISHED = "finished"  # in the history: done, failed or interrupted
    ABSENT = "absent"  # the server does not know it (any more)


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server itself; `simulated` is true for ComfyGen's own stand-in."""

    version: str
    simulated: bool = False
    os: str = ""
    devices: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, body: object) -> Server:
        """The value of a `/system_stats` answer."""
        stats = as_mapping(body)
        system = as_mapping(stats.get("system"))
        return cls(
            version=as_text(system.get("comfyui_version")),
            simulated=bool(system.get("simulated") or stats.get("simulated")),
            os=as_text(system.get("os")),
            devices=tuple(as_text(as_mapping(device).get("name")) for device in as_list(stats.get("devices"))),
        )

    def at_least(self, *version: int) -> bool:
        """Whether it is that version or a later one; an unreadable version is older than all."""
        found = re.match(r"v?(\d+(?:\.\d+)*)", self.version)
        return found is not None and tuple(int(part) for part in found[1].split(".")) >= version


@dataclass(frozen=True, kw_only=True)
class QueueState:
    """The ids that run, and those that wait in the order in which they will run."""

    running: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, body: object) -> QueueState:
        """The value of a `/queue` answer; `queue_pending` arrives as a heap, so it is sorted here."""
        queue = as_mapping(body)
        running, pending = as_list(queue.get("queue_running")), as_list(queue.get("queue_pending"))
        return cls(
            running=tuple(_prompt_id(entry) for entry in running),
            pending=tuple(_prompt_id(entry) for entry in sorted(pending, key=_number)),
        )

    def state(self, prompt_id: str) -> PromptState | None:
        """RUNNING or PENDING, or None for a prompt that is not in the queue."""
        if prompt_id in self.running:
            return PromptState.RUNNING
        return PromptState.PENDING if prompt_id in self.pending else None

    @property
    def dead_worker_suspect(self) -> bool:
        """Nothing runs although something is pending: for seconds, that means a dead worker thread."""
        return bool(self.pending) and not self.running


def _prompt_id(entry: object) -> str:
    return str(as_list(entry)[1]) if len(as_list(entry)) > 1 else ""


def _number(entry: object) -> float:
    return as_number(as_list(entry)[0]) or 0.0 if as_list(entry) else 0.0


@dataclass(frozen=True, kw_only=True)
class OutputRef:
    """A file that a prompt left on the server: the `index`-th entry under `key` of node `node`."""

    node: str
    key: str
    index: int
    filename: str
    subfolder: str = ""
    type: str = "output"
    format: str | None = None  # "video/h264-mp4" where the node says so


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a prompt ended. `outputs` may hold files even of one that failed.

    `execution_cached` says that every node with an output was served from the cache, so that the files are those of
    an earlier run. `started` and `finished` are milliseconds since 1970 by the server's clock.
    """

    prompt_id: str
    status: str  # "success", "error" or "interrupted"
    outputs: tuple[OutputRef, ...] = ()
    texts: tuple[str, ...] = ()
    execution_cached: bool = False
    started: int | None = None
    finished: int | None = None
    error: ComfyUIError | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a prompt is: step `value` of `max` of the node that runs, and nodes done of those to run."""

    prompt_id: str
    value: float = 0.0
    max: float = 0.0
    node: str | None = None
    nodes_done: int = 0
    nodes_total: int = 0

    @property
    def fraction(self) -> float:
        """The whole prompt from 0 to 1, each node weighing the same."""
        step = self.value / self.max if self.max > 0 else 0.0
        done = self.nodes_done + min(max(step, 0.0), 1.0)
        return min(done / self.nodes_total, 1.0) if self.nodes_total else 0.0
