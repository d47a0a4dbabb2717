"""What a graph must fulfil before any server sees it: links that lead somewhere, no cycles, something to save."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from comfygen.documents import did_you_mean, quoted
from comfygen.errors import Problem
from comfygen.graph import Graph, as_link, class_of, consumers, inputs_of
from comfygen.workflows.classes import NodeClasses, is_preview, output_slots, savers


def graph_problems(graph: Graph, classes: NodeClasses | None = None) -> list[Problem]:
    """Every structural mistake of a graph; `field` is `node` or `node.inputs.name`."""
    found = [
        problem
        for node in graph
        for name, value in inputs_of(graph, node).items()
        for problem in _link_problems(graph, node, name, value, classes)
    ]
    return [*found, *_cycles(graph), *_no_output(graph, classes)]


def _link_problems(graph: Graph, node: str, name: str, value: object, classes: NodeClasses | None) -> Iterator[Problem]:
    place = f"{node}.inputs.{name}"
    link = as_link(value)
    if link is None:
        if (message := _malformed(graph, value)) is not None:
            yield Problem(field=place, message=message, allowed='a link is ["node id", slot number]')
    elif link.node not in graph:
        message = f"the link leads to node {quoted(link.node)}, which does not exist."
        yield Problem(field=place, message=message, hint=did_you_mean(link.node, graph))
    else:
        source = class_of(graph, link.node)
        slots = output_slots(source, classes)
        if link.slot < 0 or (slots is not None and link.slot >= slots):
            allowed = f"0 to {slots - 1}" if slots else None
            message = f'the link leads to output {link.slot} of node "{link.node}" ({source}), which has none such.'
            yield Problem(field=place, message=message, allowed=allowed)


def _malformed(graph: Graph, value: object) -> str | None:
    """Why a pair that is meant as a link is none: ComfyUI would fail over it with a bare KeyError or worse."""
    if not isinstance(value, list) or len(value) != 2 or isinstance(value[0], bool):
        return None
    node, slot = value
    if isinstance(node, int) and isinstance(slot, int):
        return f"the link names node {node} by a number; node ids are text."
    if isinstance(node, str) and node in graph:
        return f'the link to node "{node}" names its output by {slot!r}, which is no number.'
    return None


def _cycles(graph: Graph) -> Iterator[Problem]:
    above: dict[str, set[str]] = {node: set() for node in graph}
    for consumer in consumers(graph):
        if consumer.source.node in graph:
            above[consumer.node].add(consumer.source.node)
    try:
        TopologicalSorter(above).prepare()
    except CycleError as error:
        way = [str(node) for node in error.args[1]]
        yield Problem(field=way[0], message=f"the nodes {' -> '.join(way)} feed each other in a circle.")


def _no_output(graph: Graph, classes: NodeClasses | None) -> Iterator[Problem]:
    if not graph or savers(graph, classes):
        return
    shown = any(is_preview(class_of(graph, node)) for node in graph)
    message = "the graph only shows previews and saves nothing." if shown else "the graph has no node that saves."
    yield Problem(message=message, hint="Add a node such as SaveImage or SaveVideo.")
