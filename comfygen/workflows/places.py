"""Places: the literals of a graph that a parameter is written to, found behind primitive nodes as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from comfygen.graph import Graph, Link, as_link, class_of, inputs_of, with_input

_PRIMITIVE_INPUTS: Final = frozenset(
    ["value", "text", "string", "prompt", "seed", "noise_seed", "int", "integer", "float", "number"]
)
_ASIDE: Final = frozenset({"control_after_generate", "control_before_generate"})


class Place(NamedTuple):
    """An input of a node that holds a literal."""

    node: str
    input: str


class Opaque(NamedTuple):
    """An input that is fed by a node whose value cannot be written."""

    node: str
    input: str
    source: str

    def reason(self, graph: Graph) -> str:
        return (
            f'"{self.input}" of node {self.node} ({class_of(graph, self.node)}) is computed by '
            f"node {self.source} ({class_of(graph, self.source)})"
        )


Finding: TypeAlias = Place | Opaque | None


def place_of(graph: Graph, node: str, name: str) -> Finding:
    """Where the literal of an input stands: in the node, or in the primitive node that it is linked from.

    None for an input that does not exist.
    """
    value = inputs_of(graph, node).get(name)
    link = as_link(value)
    if link is None:
        return None if value is None or isinstance(value, list | dict) else Place(node, name)
    found = _behind(graph, link, {node})
    return found or Opaque(node, name, link.node)


def _behind(graph: Graph, link: Link, seen: set[str]) -> Place | None:
    """The one literal of a primitive node, or of the one that this hands on."""
    inputs = {name: value for name, value in inputs_of(graph, link.node).items() if name not in _ASIDE}
    if len(inputs) != 1 or link.slot != 0 or link.node in seen:
        return None
    [(name, value)] = inputs.items()
    further = as_link(value)
    if further is not None:
        return _behind(graph, further, seen | {link.node})
    simple = name.lower() in _PRIMITIVE_INPUTS and isinstance(value, str | int | float)
    return Place(link.node, name) if simple else None


def literal_at(graph: Graph, place: Place) -> object:
    """What stands at a place."""
    return inputs_of(graph, place.node).get(place.input)


def write(graph: Graph, places: Iterable[Place], value: object) -> Graph:
    """The graph with one value at all these places."""
    for place in places:
        graph = with_input(graph, place.node, place.input, value)
    return graph


def upstream(graph: Graph, starts: Iterable[Link], until: Callable[[str], bool] = lambda node: False) -> Iterator[Link]:
    """Every link above `starts`, nearest first, each once; nodes for which `until` holds are not climbed through."""
    todo = list(dict.fromkeys(starts))
    seen = set(todo)
    while todo:
        link = todo.pop(0)
        yield link
        if until(link.node):
            continue
        for value in inputs_of(graph, link.node).values():
            if (above := as_link(value)) is not None and above not in seen:
                seen.add(above)
                todo.append(above)


def downward(graph: Graph, ends: Iterable[str]) -> list[str]:
    """The nodes that `ends` depend on and themselves, every node behind those that feed it."""
    order: dict[str, None] = {}
    todo = [(node, False) for node in ends]
    opened: set[str] = set()
    while todo:
        node, done = todo.pop()
        if done:
            order[node] = None
        elif node in graph and node not in opened:
            opened.add(node)
            todo.append((node, True))
            above = [link.node for value in inputs_of(graph, node).values() if (link := as_link(value))]
            todo.extend((source, False) for source in reversed(above))
    return list(order)
