"""Edits of a graph by role: each returns a new graph and leaves every node it does not mean untouched."""

from __future__ import annotations

from collections.abc import Iterable

from comfygen.errors import Problem, WorkflowInvalid
from comfygen.graph import Graph, inputs_of, with_input
from comfygen.workflows.places import Place, literal_at, write
from comfygen.workflows.roles import Roles


def with_value(graph: Graph, roles: Roles, key: str, value: object) -> Graph:
    """The graph with one request key set, wherever it stands. Raises WorkflowInvalid if it has no place."""
    for place, written in changes(graph, roles, key, value).items():
        graph = write(graph, [place], written)
    return graph


def changes(graph: Graph, roles: Roles, key: str, value: object) -> dict[Place, object]:
    """What is written where to set one request key; more steps move the borders of the stages in proportion.

    Raises WorkflowInvalid if the key has no place, or if there are fewer steps than stages.
    """
    if not roles.at(key):
        raise WorkflowInvalid(problems=[no_place(roles, key)])
    written: dict[Place, object] = dict.fromkeys(roles.at(key), value)
    if key == "steps" and isinstance(value, int):
        written |= _windows(graph, roles, value)
    return written


def no_place(roles: Roles, key: str) -> Problem:
    """The complaint about a request key that a graph has no place for."""
    reason = roles.blocked.get(key)
    hint = None
    if key in {"width", "height"} and reason is None and roles.at("input_image"):
        hint = 'The size follows the input image: use "resize: WIDTHxHEIGHT".'
    message = "has no place in this workflow" + (f": {reason}." if reason else ".")
    return Problem(field=key, message=message, allowed=", ".join(roles.takes) or None, hint=hint)


def with_filename_prefix(graph: Graph, prefix: str) -> Graph:
    """The graph with every saver writing under this prefix."""
    for node in graph:
        if isinstance(inputs_of(graph, node).get("filename_prefix"), str):
            graph = with_input(graph, node, "filename_prefix", prefix)
    return graph


def _windows(graph: Graph, roles: Roles, steps: int) -> dict[Place, object]:
    """The borders of all stages for a new number of steps; what lies at the end or beyond stays as it is."""
    found = [(w.place, literal_at(graph, w.place), literal_at(graph, w.steps)) for w in roles.windows]
    inner = [(p, at, old) for p, at, old in found if isinstance(at, int) and isinstance(old, int) and 0 < at < old]
    moved = {old: _rescaled({at for _, at, total in inner if total == old}, old, steps) for _, _, old in inner}
    return {place: moved[old][at] for place, at, old in inner}


def _rescaled(borders: Iterable[int], old: int, new: int) -> dict[int, int]:
    """Borders between stages, moved in proportion; every stage keeps at least one step."""
    ordered = sorted(borders)
    if new <= len(ordered):
        problem = Problem(
            field="steps",
            message=f"{new} is too few: the workflow divides the steps among {len(ordered) + 1} stages.",
            allowed=f"at least {len(ordered) + 1}",
        )
        raise WorkflowInvalid(problems=[problem])
    moved: dict[int, int] = {}
    for number, border in enumerate(ordered):
        lowest = max(moved.values(), default=0) + 1
        highest = new - (len(ordered) - number)
        moved[border] = max(lowest, min(highest, (2 * border * new + old) // (2 * old)))
    return moved
