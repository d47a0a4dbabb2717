"""Reports: how a run stands and what went wrong, in ComfyUI's words."""

from __future__ import annotations

from typing import Any

from comfygen.simulator.sockets import Voice
from comfygen.simulator.values import Call, NodeFailed, Value

PLACES = (
    ("execution.py", 543, "execute"),
    ("execution.py", 342, "get_output_data"),
    ("execution.py", 316, "_async_map_node_over_list"),
    ("execution.py", 304, "process_inputs"),
)


class Progress:
    """`progress_state`: every node that has started, with how far it is."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._nodes: dict[str, dict[str, Any]] = {}

    def start(self, node: str) -> None:
        self._set(node, 0.0, 1.0, "running")

    def step(self, node: str, value: int, most: int) -> None:
        self._set(node, value, most, "running")
        told = {"value": value, "max": most, "prompt_id": self._voice.prompt_id, "node": node}
        self._voice.shout("progress", told)

    def finish(self, node: str) -> None:
        most = self._nodes[node]["max"] if node in self._nodes else 1.0
        self._set(node, most, most, "finished")

    def _set(self, node: str, value: float, most: float, state: str) -> None:
        self._nodes[node] = {
            "value": value,
            "max": most,
            "state": state,
            "node_id": node,
            "prompt_id": self._voice.prompt_id,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
        }
        self._voice.shout("progress_state", {"prompt_id": self._voice.prompt_id, "nodes": self._nodes})


def failure(exc: NodeFailed, call: Call | None, standing: dict[str, Any]) -> dict[str, Any]:
    """The body of `execution_error`, but for what the run alone knows."""
    inputs = call.inputs if call else {}
    return {
        **standing,
        "exception_message": f"{exc.message}\n",
        "exception_type": exc.kind,
        "traceback": [
            f'  File "<comfyui>/{file}", line {line}, in {name}\n    <source line>\n' for file, line, name in PLACES
        ],
        "current_inputs": {name: [_dumped(value)] for name, value in inputs.items()},
    }


def _dumped(value: object) -> object:
    if isinstance(value, Value):
        return f"<simulated {value.digest[:12]}>"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
