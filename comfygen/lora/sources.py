"""Where the MODEL and the CLIP of a graph come from: loaders known by class, all others by who consumes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from comfygen.graph import Consumer, Graph, Link, as_link, class_of, consumers, inputs_of

Kind: TypeAlias = Literal["MODEL", "CLIP"]

_CHECKPOINT: Final = ("MODEL", "CLIP", "VAE")
LOADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "CheckpointLoaderSimple": _CHECKPOINT,
    "CheckpointLoader": _CHECKPOINT,
    "CheckpointLoaderNF4": _CHECKPOINT,
    "DiffusersLoader": _CHECKPOINT,
    "unCLIPCheckpointLoader": (*_CHECKPOINT, "CLIP_VISION"),
    "ImageOnlyCheckpointLoader": ("MODEL", "CLIP_VISION", "VAE"),
    "UNETLoader": ("MODEL",),
    "UnetLoaderGGUF": ("MODEL",),
    "UnetLoaderGGUFAdvanced": ("MODEL",),
    "CLIPLoader": ("CLIP",),
    "DualCLIPLoader": ("CLIP",),
    "TripleCLIPLoader": ("CLIP",),
    "QuadrupleCLIPLoader": ("CLIP",),
    "CLIPLoaderGGUF": ("CLIP",),
    "DualCLIPLoaderGGUF": ("CLIP",),
    "TripleCLIPLoaderGGUF": ("CLIP",),
    "QuadrupleCLIPLoaderGGUF": ("CLIP",),
    "LTXAVTextEncoderLoader": ("CLIP",),
}
_INPUTS: Final[Mapping[Kind, re.Pattern[str]]] = {
    "MODEL": re.compile(r"model(_?[0-9ab])?"),
    "CLIP": re.compile(r"clip(_?[0-9ab])?"),
}
_TAKERS: Final[Mapping[Kind, re.Pattern[str]]] = {
    "MODEL": re.compile(r"KSampler(Advanced)?|SamplerCustom|.*Scheduler|.*Guider|ModelSampling.*|ModelMerge.*"),
    "CLIP": re.compile(r"CLIPTextEncode.*|TextEncode.*|CLIPSetLastLayer|CLIPMerge.*"),
}
_SLOTS: Final[Mapping[Kind, int]] = {"MODEL": 0, "CLIP": 1}


def is_lora(graph: Graph, node: str) -> bool:
    """Whether a node puts one LoRA onto a MODEL (LoraLoader, LoraLoaderModelOnly and their like)."""
    inputs = inputs_of(graph, node)
    return "lora_name" in inputs and as_link(inputs.get("model")) is not None


def lora_output(node: str, kind: Kind) -> Link:
    """The output of a LoRA loader that passes MODEL or CLIP on."""
    return Link(node, _SLOTS[kind])


def is_loaded(graph: Graph, link: Link, kind: Kind) -> bool:
    """Whether a link is the MODEL or CLIP output of a loader that is known by its class."""
    types = LOADERS.get(class_of(graph, link.node), ())
    return 0 <= link.slot < len(types) and types[link.slot] == kind


def _descends(graph: Graph, link: Link, kind: Kind, seen: set[str]) -> bool:
    """Whether a link is, or stems by any way from, the `kind` output of a known loader."""
    if is_loaded(graph, link, kind):
        return True
    if link.node in seen:
        return False
    seen.add(link.node)
    above = [source for value in inputs_of(graph, link.node).values() if (source := as_link(value))]
    return any(_descends(graph, source, kind, seen) for source in above)


def feeds(graph: Graph, node: str, kind: Kind) -> list[Link]:
    """The links that bring MODEL (or CLIP) into a node; several for a merge or a switch, none for a loader."""
    linked = [(name, link) for name, value in inputs_of(graph, node).items() if (link := as_link(value))]
    named = [link for name, link in linked if _INPUTS[kind].fullmatch(name)]
    return named or [link for _, link in linked if _descends(graph, link, kind, {node})]


def climb(graph: Graph, link: Link, kind: Kind) -> list[Link]:
    """The links that MODEL (or CLIP) takes down to `link`, itself first and each once."""
    way, todo = dict.fromkeys([link]), [link]
    while todo:
        for above in feeds(graph, todo.pop().node, kind):
            if above not in way:
                way[above] = None
                todo.append(above)
    return list(way)


def roots(graph: Graph, link: Link, kind: Kind) -> list[Link]:
    """The sources that a link of MODEL (or CLIP) stems from."""
    return [above for above in climb(graph, link, kind) if not feeds(graph, above.node, kind)]


def _takes(graph: Graph, consumer: Consumer, kind: Kind) -> bool:
    """Whether an input is known to take MODEL (or CLIP) by the class of its node."""
    known = _TAKERS[kind].fullmatch(class_of(graph, consumer.node)) or is_lora(graph, consumer.node)
    return bool(known and _INPUTS[kind].fullmatch(consumer.input))


def sources(graph: Graph, kind: Kind) -> list[Link]:
    """Every link where MODEL (or CLIP) enters the graph and is used, in the graph's own order."""
    found: set[Link] = set()
    for consumer in consumers(graph):
        if is_loaded(graph, consumer.source, kind):
            found.add(consumer.source)
        elif _takes(graph, consumer, kind):
            found.update(roots(graph, consumer.source, kind))
    order = {node: place for place, node in enumerate(graph)}
    return sorted((link for link in found if link.node in graph), key=lambda link: (order[link.node], link.slot))
