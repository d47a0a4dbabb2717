"""The progress of one prompt, computed from the messages about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from comfygen.comfyui_client.shapes import as_list, as_mapping, as_number, as_text
from comfygen.comfyui_client.values import Progress

ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


def announces_end(kind: str, data: Mapping[str, Any]) -> bool:
    """Whether a message says that its prompt is over; the history may still lag behind it by milliseconds."""
    return kind in ENDS or (kind == "executing" and "node" in data and data["node"] is None)


class ProgressTracker:
    """Folds messages into a Progress. `nodes` are the ids of the graph, empty when it is not known.

    `progress` counts anew for each sampler, so the whole is told by how many nodes are done: `progress_state` says
    so, and where it is missing each `executing` means that the node before it is done. Cached nodes do not count.
    """

    def __init__(self, prompt_id: str, nodes: Iterable[str] = ()) -> None:
        self.progress = Progress(prompt_id=prompt_id)
        self._graph = frozenset(nodes)
        self._cached: frozenset[str] = frozenset()
        self._started: dict[str, None] = {}
        self._finished: frozenset[str] = frozenset()
        self._count()

    def take(self, kind: str, data: Mapping[str, Any]) -> bool:
        """Fold in one message; whether anything changed."""
        before = self.progress
        if kind == "execution_cached":
            self._cached = self._ours(str(node) for node in as_list(data.get("nodes")))
        elif kind == "progress_state":
            self._take_states(as_mapping(data.get("nodes")))
        elif kind == "executing":
            self._take_executing(data)
        elif kind == "progress":
            self._step(as_text(data.get("node")) or None, data)
        elif kind == "execution_success":
            self.finish()
        self._count()
        return self.progress != before

    def finish(self) -> None:
        """The prompt ended well, whether or not all messages about it were heard."""
        self._finished = self._graph or frozenset(self._started)
        self.progress = replace(self.progress, node=None, value=0.0, max=0.0)
        self._count()

    def _ours(self, nodes: Iterable[str]) -> frozenset[str]:
        """Only nodes of the graph: others come from nodes that expand into more nodes while they run."""
        return frozenset(node for node in nodes if not self._graph or node in self._graph)

    def _take_states(self, nodes: Mapping[str, Any]) -> None:
        states = {node: as_mapping(state) for node, state in nodes.items()}
        self._started |= dict.fromkeys(states)
        self._finished |= self._ours(node for node, state in states.items() if state.get("state") == "finished")
        running = [node for node, state in states.items() if state.get("state") == "running"]
        if running:
            self._step(running[-1], states[running[-1]])

    def _take_executing(self, data: Mapping[str, Any]) -> None:
        if not (node := as_text(data.get("node"))):
            return
        self._finished |= self._ours(other for other in self._started if other != node)
        self._started[node] = None
        if node != self.progress.node:
            self.progress = replace(self.progress, node=node, value=0.0, max=0.0)

    def _step(self, node: str | None, state: Mapping[str, Any]) -> None:
        value, most = as_number(state.get("value")), as_number(state.get("max"))
        if value is not None and most is not None:
            self.progress = replace(self.progress, node=node or self.progress.node, value=value, max=most)

    def _count(self) -> None:
        done = len(self._finished - self._cached)
        known = len(self._graph - self._cached) if self._graph else len(self._started.keys() - self._cached)
        self.progress = replace(self.progress, nodes_done=done, nodes_total=max(known, done))
