"""Checks a graph against a server's node classes before anything is sent: pure, and all problems at once.

It refuses what ComfyUI would refuse, and two things that ComfyUI finds out only after minutes of sampling: a literal
where a link belongs, and (before 0.8) a wrong choice of a newer node. What ComfyUI accepts must pass: nodes no output
depends on are not looked at, unknown inputs are ignored, numbers may be strings, and types that only custom nodes use
are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from comfygen.comfyui_client.objects import InputSpec, NodeClass, ObjectInfo
from comfygen.comfyui_client.wording import not_offered, place, shown, slot, some, suggestion
from comfygen.errors import Problem
from comfygen.graph import Graph, as_link, class_of, inputs_of

# Types that no widget can produce: a literal there fails in execution, and their mismatches are real ones.
SOCKETS = frozenset(
    {"MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "NOISE", "SAMPLER", "SIGMAS", "GUIDER"}
    | {"CONTROL_NET", "CLIP_VISION", "CLIP_VISION_OUTPUT", "STYLE_MODEL", "UPSCALE_MODEL", "GLIGEN", "AUDIO", "VIDEO"}
)
NUMBERS = {"INT": "a whole number", "FLOAT": "a number"}


def preflight(
    graph: Graph, object_info: ObjectInfo, *, replaceable: Collection[str] = frozenset()
) -> tuple[Problem, ...]:
    """Why this server would not run this graph; empty when it would.

    `replaceable` are classes that the server does not have but rewrites into others: such nodes are left alone.
    """
    missing = [node for node in unknown_classes(graph, object_info) if class_of(graph, node) not in replaceable]
    if missing:
        return tuple(_unknown_class(graph, node, object_info) for node in missing)
    classes = {node: found for node in graph if (found := object_info.node_class(class_of(graph, node))) is not None}
    ends = [node for node in graph if node not in classes or classes[node].output_node]
    if not ends:
        return (Problem(message="The graph has no output node, so nothing would run", hint="Add a SaveImage node."),)
    needed = _upstream(graph, ends) & classes.keys()
    return tuple(problem for node in graph if node in needed for problem in _node_problems(graph, node, classes))


def unknown_classes(graph: Graph, object_info: ObjectInfo) -> tuple[str, ...]:
    """The nodes whose class the server does not have."""
    return tuple(node for node in graph if class_of(graph, node) not in object_info.classes)


def _unknown_class(graph: Graph, node: str, object_info: ObjectInfo) -> Problem:
    name = class_of(graph, node)
    near = suggestion(name, list(object_info.classes))
    return Problem(
        field=f"node {node}",
        message=f"this ComfyUI has no node class {name!r}",
        hint=" ".join(part for part in (near, "Install the custom node that brings it, or use another node.") if part),
    )


def _upstream(graph: Graph, nodes: list[str]) -> set[str]:
    """The nodes and everything that they depend on."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node in found or node not in graph:
            continue
        found.add(node)
        links = (as_link(value) for value in inputs_of(graph, node).values())
        waiting.extend(link.node for link in links if link is not None)
    return found


def _node_problems(graph: Graph, node: str, classes: dict[str, NodeClass]) -> Iterator[Problem]:
    inputs = inputs_of(graph, node)
    for name, spec in classes[node].inputs.items():
        field = f"{place(node, class_of(graph, node))} {name}"
        if name in inputs:
            problem = _input_problem(graph, inputs[name], spec, classes, field)
            if problem is not None:
                yield problem
        elif spec.required and not spec.kind.startswith("COMFY_"):
            yield Problem(field=field, message="this input is required and missing")


def _input_problem(
    graph: Graph, value: object, spec: InputSpec, classes: dict[str, NodeClass], field: str
) -> Problem | None:
    if isinstance(value, list):
        return _link_problem(graph, value, spec, classes, field)
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    if spec.options is not None:
        return _choice_problem(value, spec, spec.options, field)
    if spec.kind in NUMBERS:
        return _number_problem(value, spec, field)
    if spec.kind in SOCKETS:
        return Problem(field=field, message=f"{shown(value)} stands where a link to a {spec.kind} output belongs")
    return None


def _link_problem(
    graph: Graph, value: list[object], spec: InputSpec, classes: dict[str, NodeClass], field: str
) -> Problem | None:
    link = as_link(value)
    if link is None:
        return Problem(field=field, message=f"{shown(value)} is no link", allowed='["node id", output slot]')
    if link.node not in graph:
        return Problem(field=field, message=f"the link leads to node {link.node!r}, which does not exist")
    outputs = classes[link.node].outputs if link.node in classes else ("*",)
    if "*" in outputs:
        return None  # nodes with outputs of any type may have any number of them
    source = place(link.node, class_of(graph, link.node))
    if not 0 <= link.slot < len(outputs):
        return Problem(
            field=field, message=f"the link leads to output {link.slot} of {source}, which has {len(outputs)}"
        )
    if _mismatch(outputs[link.slot], spec.kind):
        return Problem(field=field, message=f"gets {outputs[link.slot]} from {source} but takes {spec.kind}")
    return None


def _mismatch(given: str, taken: str) -> bool:
    """Only among the types that mean the same everywhere: custom nodes may be lenient about theirs."""
    gives, takes = ({part.strip() for part in kinds.split(",")} for kinds in (given, taken))
    return gives <= SOCKETS and takes <= SOCKETS and not gives & takes


def _choice_problem(value: object, spec: InputSpec, options: tuple[object, ...], field: str) -> Problem | None:
    if all(each in options for each in (value if isinstance(value, list) else [value])):
        return None
    names = [str(option) for option in options]
    hint = suggestion(value, names)
    if hint is None and slot(spec.name):
        hint = "Put the file into ComfyUI's models folder, or name one that is there."
    return Problem(field=field, message=not_offered(spec.name, value), allowed=some(names), hint=hint)


def _number_problem(value: object, spec: InputSpec, field: str) -> Problem | None:
    number = _as_number(value, spec.kind)
    if number is None:
        return Problem(field=field, message=f"{shown(value)} is not {NUMBERS[spec.kind]}")
    if spec.minimum is not None and number < spec.minimum:
        return Problem(field=field, message=f"{shown(value)} is too small", allowed=f"{spec.minimum} or more")
    if spec.maximum is not None and number > spec.maximum:
        return Problem(field=field, message=f"{shown(value)} is too large", allowed=f"{spec.maximum} or less")
    return None


def _as_number(value: object, kind: str) -> int | float | None:
    """The number as ComfyUI would convert it, or None when it would fail."""
    if not isinstance(value, (int, float, str)):
        return None
    try:
        return int(value) if kind == "INT" else float(value)
    except (ValueError, OverflowError):
        return None
