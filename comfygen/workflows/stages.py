"""The sampling stages of a graph: each sampler with the nodes that hold its seed, steps, guidance and sampler name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from comfygen.graph import Graph, Link, as_link, class_of, inputs_of, source_of
from comfygen.workflows.places import downward

_LATENTS: Final = ("latent_image", "latent", "samples", "samples1", "samples2", "samples_to", "samples_from")
_IMAGES: Final = ("pixels", "image", "images")
_NO_LATENT: Final = frozenset(
    ["model", "clip", "vae", "positive", "negative", "conditioning", "mask", "noise", "guider", "sampler", "sigmas"]
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One sampler and its parts. A plain KSampler is all of them itself; SamplerCustomAdvanced has a node for each.

    `splits` are the SplitSigmas nodes between the sampler and the node that makes its sigmas.
    """

    sampler: str
    guider: str
    noise: str
    select: str
    sigmas: str
    splits: tuple[str, ...] = ()


def is_sampler(graph: Graph, node: str) -> bool:
    """Whether a node samples: it has a conditioning (or a guider) and says how to sample."""
    inputs = inputs_of(graph, node)
    if "guider" in inputs:
        return "sigmas" in inputs
    return as_link(inputs.get("positive")) is not None and ("sampler_name" in inputs or "sigmas" in inputs)


def stages_of(graph: Graph, outputs: tuple[str, ...]) -> tuple[Stage, ...]:
    """The stages that the outputs depend on, each behind those whose latent it takes."""
    return tuple(_stage(graph, node) for node in downward(graph, outputs) if is_sampler(graph, node))


def _stage(graph: Graph, node: str) -> Stage:
    sigmas = node
    splits: list[str] = []
    while (link := source_of(graph, sigmas, "sigmas")) is not None and link.node not in {node, *splits}:
        sigmas = link.node
        splits.append(sigmas)
    return Stage(
        sampler=node,
        guider=_part(graph, node, "guider"),
        noise=_part(graph, node, "noise"),
        select=_part(graph, node, "sampler"),
        sigmas=sigmas,
        splits=tuple(split for split in splits if class_of(graph, split) == "SplitSigmas"),
    )


def _part(graph: Graph, node: str, name: str) -> str:
    link = source_of(graph, node, name)
    return node if link is None else link.node


def makes_noise(graph: Graph, stage: Stage) -> bool:
    """Whether a stage uses its seed; a stage that goes on with another's noise does not."""
    return inputs_of(graph, stage.noise).get("add_noise", True) in (True, "enable")


def latent_of(graph: Graph, node: str) -> list[Link]:
    """The links that bring a latent (or the image that becomes one) into a node."""
    linked = {name: link for name, value in inputs_of(graph, node).items() if (link := as_link(value))}
    for names in (_LATENTS, _IMAGES):
        if found := [linked[name] for name in names if name in linked]:
            return found
    if any(name in inputs_of(graph, node) for name in ("width", "height")):
        return []
    return [link for name, link in linked.items() if name not in _NO_LATENT]


def latent_way(graph: Graph, node: str) -> Iterator[str]:
    """The nodes that a sampler's latent comes through, nearest first, up to where it begins."""
    todo, seen = [link.node for link in latent_of(graph, node)], {node}
    while todo:
        here = todo.pop(0)
        if here in graph and here not in seen:
            seen.add(here)
            yield here
            todo.extend(link.node for link in latent_of(graph, here))
