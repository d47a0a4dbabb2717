"""Validation: what POST /prompt says to a graph before it is queued, with ComfyUI's own error bodies.

It goes as ComfyUI's does: from each output node against the links, each node once; a node whose source is invalid is
invalid too, but has no error of its own. A graph that is broken in a way ComfyUI does not foresee raises Unforeseen
where ComfyUI answers 500.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

from comfygen.graph import Graph, with_input
from comfygen.simulator.catalogue import Catalogue, Slot

Problem = dict[str, Any]
LONGEST_LIST = 20  # longer lists of options are not echoed
CONVERT: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
FILE_SLOTS = {
    ("LoadImage", "image"): "Invalid image file",
    ("LoadImageMask", "image"): "Invalid image file",
    ("LoadImageOutput", "image"): "Invalid image file",
    ("LoadVideo", "file"): "Invalid video file",
    ("LoadLatent", "latent"): "Invalid latent file",
}


class Unforeseen(Exception):
    """The graph breaks the server's own code."""


@dataclass(kw_only=True)
class Verdict:
    """`outputs` are the output nodes that will run; `error` says why none will. `graph` has its values converted."""

    graph: Graph
    outputs: list[str] = field(default_factory=list)
    error: Problem | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)


def validate(graph: Graph, catalogue: Catalogue, targets: Container[str] | None = None) -> Verdict:
    """The verdict over a graph; `targets` are the `partial_execution_targets`."""
    found = _outputs(graph, catalogue, targets)
    if isinstance(found, dict):
        return Verdict(graph=graph, error=found)
    if not found:
        return Verdict(graph=graph, error=problem("prompt_no_outputs", "Prompt has no outputs", "", {}))
    return _Examination(graph, catalogue).verdict(found)


def problem(kind: str, message: str, details: str, extra: Problem) -> Problem:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def _outputs(graph: Graph, catalogue: Catalogue, targets: Container[str] | None) -> list[str] | Problem:
    """The output nodes of the graph, or the error about the first node whose class is not there."""
    outputs = []
    for node, body in graph.items():
        if not isinstance(body, dict):
            raise Unforeseen(f"root value {node!r} is no object")
        name = body.get("class_type")
        if not isinstance(name, str) or name not in catalogue.classes:
            return _missing_class(node, name, body)
        if catalogue.is_output(name) and (targets is None or node in targets):
            outputs.append(node)
    return outputs


def _missing_class(node: str, name: object, body: Problem) -> Problem:
    meta = body.get("_meta")
    title = meta.get("title", name) if isinstance(meta, dict) else name
    if name is None:
        said = f"Node 'ID #{node}' has no class_type. The workflow may be corrupted or a custom node is missing."
    else:
        said = f"Node '{title}' not found. The custom node may not be installed."
    extra = {"node_id": node, "class_type": name, "node_title": title}
    return problem("missing_node_type", said, f"Node ID '#{node}'", extra)


class _Examination:
    """One walk over a graph; `seen` holds what is known of each node: valid or not, and its own problems."""

    def __init__(self, graph: Graph, catalogue: Catalogue) -> None:
        self.graph, self.catalogue = graph, catalogue
        self.seen: dict[str, tuple[bool, list[Problem]]] = {}
        self.converted: list[tuple[str, str, Any]] = []

    def verdict(self, outputs: list[str]) -> Verdict:
        good, said = [], []
        node_errors: dict[str, Any] = {}
        for output in outputs:
            valid, problems = self._output(output)
            if valid:
                good.append(output)
                continue
            said += [f"{p['message']}: {p['details']}" for p in problems]
            self._collect(output, node_errors)
        error = None
        if not good:
            kind, message = "prompt_outputs_failed_validation", "Prompt outputs failed validation"
            error = problem(kind, message, "\n".join(said), {})
        return Verdict(graph=self._converted(), outputs=good, error=error, node_errors=node_errors)

    def _collect(self, output: str, node_errors: dict[str, Any]) -> None:
        for node, (valid, problems) in self.seen.items():
            if not valid and problems:
                name = self.graph[node]["class_type"]
                known = node_errors.setdefault(node, {"errors": problems, "dependent_outputs": [], "class_type": name})
                known["dependent_outputs"].append(output)

    def _converted(self) -> Graph:
        graph = self.graph
        for node, name, value in self.converted:
            graph = with_input(graph, node, name, value)
        return graph

    def _output(self, output: str) -> tuple[bool, list[Problem]]:
        try:
            return self.node(output, [])
        except (KeyError, IndexError, TypeError) as exc:
            extra = {"exception_type": type(exc).__name__, "traceback": _traceback(exc)}
            kind, said = "exception_during_validation", "Exception when validating node"
            self.seen[output] = (False, [problem(kind, said, _text(exc), extra)])
            return self.seen[output]

    def node(self, node: str, path: list[str]) -> tuple[bool, list[Problem]]:
        if node in self.seen:
            return self.seen[node]
        if node in path:
            return self._cycle([*path[path.index(node) :], node])
        inputs, name = self.graph[node]["inputs"], self.graph[node]["class_type"]
        valid, problems = True, []
        for slot in self.catalogue.slots(name):
            if slot.name not in inputs:
                if slot.required:
                    extra = {"input_name": slot.name}
                    problems.append(problem("required_input_missing", "Required input is missing", slot.name, extra))
            elif isinstance(inputs[slot.name], list):
                found, sound = self._link(slot, inputs[slot.name], [*path, node])
                problems, valid = problems + found, valid and sound
            else:
                problems += self._literal(node, name, slot, inputs[slot.name])
        if node not in self.seen:  # a cycle has settled it
            self.seen[node] = (valid and not problems, problems)
        return self.seen[node]

    def _cycle(self, path: list[str]) -> tuple[bool, list[Problem]]:
        nodes = list(dict.fromkeys(path))
        way = " -> ".join(f"{node} ({self.graph[node]['class_type']})" for node in path)
        for node in nodes:
            extra = {"node_id": node, "cycle_nodes": nodes}
            self.seen[node] = (False, [problem("dependency_cycle", "Dependency cycle detected", way, extra)])
        return self.seen[path[-1]]

    def _link(self, slot: Slot, link: list[Any], path: list[str]) -> tuple[list[Problem], bool]:
        """The problems of a linked input, and whether its source is valid."""
        if len(link) != 2:
            said = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [problem("bad_linked_input", said, slot.name, self._told(slot, link))], True
        source, place = link
        received = self.catalogue.returns(self.graph[source]["class_type"])[place]
        if not _fits(received, slot.kind):
            details = f"{slot.name}, received_type({received}) mismatch input_type({slot.kind})"
            extra = self._config(slot) | {"received_type": received, "linked_node": link}
            said = "Return type mismatch between linked nodes"
            return [problem("return_type_mismatch", said, details, extra)], True
        try:
            return [], self.node(source, path)[0]
        except (KeyError, IndexError, TypeError) as exc:
            extra = self._config(slot) | {"exception_message": _text(exc), "exception_type": type(exc).__name__}
            extra |= {"traceback": _traceback(exc), "linked_node": link}
            kind, said = "exception_during_inner_validation", "Exception when validating inner node"
            self.seen[source] = (False, [problem(kind, said, _text(exc), extra)])
            return [], False

    def _literal(self, node: str, name: str, slot: Slot, value: Any) -> list[Problem]:
        if isinstance(value, dict) and "__value__" in value:
            value = value["__value__"]
        try:
            value = CONVERT[slot.kind](value) if slot.kind in CONVERT else value
        except (TypeError, ValueError, OverflowError) as exc:
            said = f"Failed to convert an input value to a {slot.kind} value"
            extra = self._told(slot, value) | {"exception_message": str(exc)}
            return [problem("invalid_input_type", said, f"{slot.name}, {value}, {exc}", extra)]
        if value is not self.graph[node]["inputs"][slot.name]:
            self.converted.append((node, slot.name, value))
        if (name, slot.name) in FILE_SLOTS:
            return self._file(slot, value, FILE_SLOTS[name, slot.name])
        return self._range(slot, value) or self._choice(slot, value)

    def _config(self, slot: Slot) -> Problem:
        return {"input_name": slot.name, "input_config": self.catalogue.config(slot)}

    def _told(self, slot: Slot, value: Any) -> Problem:
        return self._config(slot) | {"received_value": value}

    def _range(self, slot: Slot, value: Any) -> list[Problem]:
        least, most = slot.extra.get("min"), slot.extra.get("max")
        if least is not None and value < least:
            said = f"Value {value} smaller than min of {least}"
            return [problem("value_smaller_than_min", said, slot.name, self._told(slot, value))]
        if most is not None and value > most:
            said = f"Value {value} bigger than max of {most}"
            return [problem("value_bigger_than_max", said, slot.name, self._told(slot, value))]
        return []

    def _choice(self, slot: Slot, value: Any) -> list[Problem]:
        options = self.catalogue.options(slot)
        if options is None or value in options:
            return []
        long = len(options) > LONGEST_LIST
        listed = f"(list of length {len(options)})" if long else str(options)
        extra = self._told(slot, value) | ({"input_config": None} if long else {})
        return [problem("value_not_in_list", "Value not in list", f"{slot.name}: {value!r} not in {listed}", extra)]

    def _file(self, slot: Slot, value: Any, complaint: str) -> list[Problem]:
        if isinstance(value, str) and self.catalogue.folders.annotated(value):
            return []
        said, details = "Custom validation failed for node", f"{slot.name} - {complaint}: {value}"
        return [problem("custom_validation_failed", said, details, {"input_name": slot.name})]


def _fits(received: str, wanted: str) -> bool:
    if received == wanted or "*" in (received, wanted):
        return True
    return set(received.split(",")) <= set(wanted.split(","))


def _text(exc: Exception) -> str:
    return "tuple index out of range" if isinstance(exc, IndexError) else str(exc)


def _traceback(exc: Exception) -> list[str]:
    """A trace of the recorded shape: ComfyUI's places, no source."""
    lines = (948, 863 if str(exc) == "'inputs'" else 928 if isinstance(exc, IndexError) else 926)
    return [f'  File "<comfyui>/execution.py", line {line}, in validate_inputs\n    <source line>\n' for line in lines]
