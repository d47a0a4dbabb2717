"""Workflow: a file of the workflows folder as a value: its graph, and what it says about itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from comfygen.errors import Problem, WorkflowInvalid
from comfygen.graph import Graph, is_node
from comfygen.workflows.checks import graph_problems
from comfygen.workflows.classes import NodeClasses

METADATA: Final = "_workflow_metadata"
EXPORT: Final = 'In ComfyUI, choose "Workflow > Export (API)" and keep the file that this gives.'


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A graph that ComfyUI runs, under its file name, with the `_workflow_metadata` that stood beside it."""

    name: str
    graph: Graph
    metadata: Mapping[str, object] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The name without `.json`."""
        return self.name.removesuffix(".json")


def strip(document: Mapping[str, Any]) -> Graph:
    """The nodes of a workflow file, and nothing else that stands at its root; ids may be any text (`57:8`)."""
    return {node: body for node, body in document.items() if is_node(body)}


def parse_workflow(text: bytes, *, name: str, classes: NodeClasses | None = None) -> Workflow:
    """The workflow in a file of that name. Raises WorkflowInvalid with every mistake, each with its line.

    `classes` are a server's node classes, if they are known: with them, slots of custom nodes are checked as well.
    """
    document, twice = _decoded(text, name)
    if (wrong := _shape_problem(document)) is not None:
        raise WorkflowInvalid(f"{name} is no workflow.", problems=[_placed(wrong, text, name)])
    problems = [_twice(key, body, text) for key, body in twice]
    problems += _root_problems(document)
    problems += graph_problems(strip(document), classes)
    if problems:
        raise WorkflowInvalid(f"{name} cannot be used.", problems=[_placed(p, text, name) for p in problems])
    return Workflow(name=name, graph=strip(document), metadata=document.get(METADATA, {}))


def _decoded(text: bytes, name: str) -> tuple[Any, list[tuple[str, dict[str, Any]]]]:
    """What the JSON says, and the keys that stand twice in one object, with that object."""
    twice: list[tuple[str, dict[str, Any]]] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        body = dict(found)
        keys = [key for key, _ in found]
        twice.extend((key, body) for key in body if keys.count(key) > 1)
        return body

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=_refuse_constant), twice
    except json.JSONDecodeError as error:
        raise _no_json(name, f"this is no JSON: {error.msg} (column {error.colno}).", error.lineno) from error
    except RecursionError as error:
        raise _no_json(name, "this is nested too deeply.") from error
    except ValueError as error:
        raise _no_json(name, f"this is no JSON: {error}.") from error


def _refuse_constant(token: str) -> float:
    raise ValueError(f"{token} is no number that JSON knows")


def _no_json(name: str, message: str, line: int | None = None) -> WorkflowInvalid:
    return WorkflowInvalid(f"{name} is no workflow.", problems=[Problem(file=name, line=line, message=message)])


def _shape_problem(document: Any) -> Problem | None:
    """What is wrong with the whole file: other formats that people take for a workflow."""
    if not isinstance(document, dict):
        return Problem(message="a workflow is an object of nodes.", hint=EXPORT)
    if isinstance(document.get("nodes"), list):
        message = "this is the editor's own format (lists of nodes and links), which ComfyUI does not run."
        return Problem(field="nodes", message=message, hint=EXPORT)
    if not strip(document):
        wrapped = next((key for key, value in document.items() if isinstance(value, dict) and strip(value)), None)
        hint = f'Keep only what stands under "{wrapped}".' if wrapped else EXPORT
        return Problem(message="no node stands at the root of this file.", hint=hint)
    return None


def _root_problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    if not isinstance(document.get(METADATA, {}), dict):
        yield Problem(field=METADATA, message="the metadata must be an object.")
    for key, value in document.items():
        if isinstance(value, dict) and "inputs" in value and not is_node(value):
            yield Problem(field=key, message="this node has inputs, but no class_type.")
        elif is_node(value) and not isinstance(value.get("inputs", {}), dict):
            yield Problem(field=key, message="the inputs of this node must be an object.")


def _twice(key: str, body: Mapping[str, Any], text: bytes) -> Problem:
    """A key that stands twice in one object: the line of the second is told for nodes."""
    what = f'the node "{key}"' if is_node(body[key]) else f'"{key}"'
    lines = _lines_of(key, text)
    return Problem(line=lines[1] if len(lines) > 1 else None, field=key, message=f"{what} stands here twice.")


def _lines_of(key: str, text: bytes) -> list[int]:
    """The lines on which a key is given an object."""
    pattern = re.escape(json.dumps(key, ensure_ascii=False).encode("utf-8", "surrogatepass")) + rb"\s*:\s*\{"
    return [text.count(b"\n", 0, match.start()) + 1 for match in re.finditer(pattern, text)]


def _placed(problem: Problem, text: bytes, name: str) -> Problem:
    """A problem with its file, and the line of its node (`field` is `node` or `node.input`)."""
    lines = _lines_of((problem.field or "").split(".inputs.")[0], text)
    line = problem.line or (lines[0] if lines else None)
    return Problem(**{**vars(problem), "file": name, "line": line})
