"""A ComfyUI graph in API format as a plain value: node id -> node, and the links between nodes.

A link is `[source node id, output slot]`. Everything here returns new graphs and leaves its arguments alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

Node: TypeAlias = dict[str, Any]
Graph: TypeAlias = dict[str, Node]


class Link(NamedTuple):
    """An output of a node: where a linked input comes from."""

    node: str
    slot: int


class Consumer(NamedTuple):
    """An input of a node that is fed by a link."""

    node: str
    input: str
    source: Link


def is_node(value: object) -> bool:
    """Whether a root entry of a workflow file is a node (`_workflow_metadata` and comments are none)."""
    return isinstance(value, dict) and isinstance(value.get("class_type"), str)


def as_link(value: object) -> Link | None:
    """The link that an input value is, or None for a literal. Links name nodes by string."""
    if isinstance(value, list) and len(value) == 2:
        node, slot = value
        if isinstance(node, str) and isinstance(slot, int) and not isinstance(slot, bool):
            return Link(node, slot)
    return None


def class_of(graph: Graph, node: str) -> str:
    """The class of a node; empty for a node that does not exist."""
    return str(graph[node]["class_type"]) if node in graph else ""


def inputs_of(graph: Graph, node: str) -> dict[str, Any]:
    """The inputs of a node; empty for a node without any."""
    inputs = graph.get(node, {}).get("inputs", {})
    return inputs if isinstance(inputs, dict) else {}


def source_of(graph: Graph, node: str, name: str) -> Link | None:
    """The link that feeds input `name` of `node`, if it is linked."""
    return as_link(inputs_of(graph, node).get(name))


def consumers(graph: Graph) -> Iterator[Consumer]:
    """Every linked input of the graph, in the graph's own order."""
    for node in graph:
        for name, value in inputs_of(graph, node).items():
            if (link := as_link(value)) is not None:
                yield Consumer(node, name, link)


def with_input(graph: Graph, node: str, name: str, value: object) -> Graph:
    """The graph with one input of one node replaced; all other nodes are the same objects."""
    changed = {**graph[node], "inputs": {**inputs_of(graph, node), name: value}}
    return {**graph, node: changed}


def canonical(graph: Graph) -> str:
    """The graph as canonical JSON: sorted keys, no blanks, `_meta` (titles) left out."""
    bare = {node: {k: v for k, v in body.items() if k != "_meta"} for node, body in graph.items()}
    return json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def graph_sha256(graph: Graph) -> str:
    """The SHA-256 of the canonical graph in hex: two graphs that run alike have the same."""
    return hashlib.sha256(canonical(graph).encode("utf-8", "surrogatepass")).hexdigest()
