"""Graphs that tests share: recorded ones, the project's own, and a shorthand for those written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comfygen.graph import Graph, Node, class_of, consumers
from comfygen.workflows import NodeClasses, Roles, Workflow, parse_workflow

ROOT = Path(__file__).parents[2]
GRAPHS = ROOT / "tests" / "data" / "graphs"


def recorded(name: str) -> Graph:
    """A graph that stock ComfyUI servers accepted and ran."""
    graph: Graph = json.loads((GRAPHS / f"{name}.json").read_bytes())
    return graph


def own(name: str) -> Workflow:
    """A workflow of the project."""
    return parse_workflow((ROOT / "workflows" / f"{name}.json").read_bytes(), name=f"{name}.json")


def node_classes() -> NodeClasses:
    """The inputs and outputs of the usual node classes, as ComfyUI 0.28.1 tells them (without option lists)."""
    classes: NodeClasses = json.loads((GRAPHS / "node-classes.json").read_bytes())
    return classes


def node(class_type: str, **inputs: Any) -> Node:
    """A node; links are written as lists."""
    return {"class_type": class_type, "inputs": inputs}


def bare(graph: Graph) -> Graph:
    """A graph without titles."""
    return {key: {"class_type": body["class_type"], "inputs": body["inputs"]} for key, body in graph.items()}


def misfits(graph: Graph) -> Iterator[str]:
    """Links that bring another type than their input takes, as ComfyUI would say it."""
    classes = node_classes()
    for consumer in consumers(graph):
        groups = classes[class_of(graph, consumer.node)]["input"].values()
        wanted = next(group[consumer.input][0] for group in groups if consumer.input in group)
        given = classes[class_of(graph, consumer.source.node)]["output"][consumer.source.slot]
        if wanted not in (given, "*"):
            yield f"{consumer.node}.{consumer.input}: {given} instead of {wanted}"


def at(roles: Roles, *keys: str) -> list[list[str]]:
    """The places of some keys, as `node.input`."""
    return [[f"{place.node}.{place.input}" for place in roles.at(key)] for key in keys]


def text_to_image(**sampler: Any) -> Graph:
    """The smallest graph that makes a picture."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "2": node("CLIPTextEncode", text="a lake", clip=["1", 1]),
        "3": node("CLIPTextEncode", text="blur", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "5": node("KSampler", **_SAMPLER | sampler),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", filename_prefix="x", images=["6", 0]),
    }


_SAMPLER: dict[str, Any] = {
    "seed": 1,
    "steps": 20,
    "cfg": 7.0,
    "sampler_name": "euler",
    "scheduler": "normal",
    "denoise": 1.0,
    "model": ["1", 0],
    "positive": ["2", 0],
    "negative": ["3", 0],
    "latent_image": ["4", 0],
}
