"""The model branches of a graph (one per MODEL source), their names, their CLIP, and the LoRAs on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from comfygen.graph import Graph, Link, consumers, inputs_of, source_of
from comfygen.lora.sources import climb, is_lora, lora_output, roots, sources
from comfygen.lora.value import Lora

_NOISE: Final = re.compile(r"(high|low)[ _.-]?noise", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Branch:
    """What stems from one MODEL source.

    `name` is "high" or "low" where the model's file name or the order of two sampling stages says so, else the node
    id of the loader. `clips` are the CLIP sources that belong to this branch alone: none for a text encoder that
    several branches share, so that no LoRA is put onto it twice.
    """

    name: str
    model: Link
    clips: tuple[Link, ...] = ()

    def is_meant(self, lora: Lora) -> bool:
        """Whether a LoRA goes onto this branch."""
        return lora.branch is None or lora.branch in (self.name, self.model.node)


def branches(graph: Graph) -> tuple[Branch, ...]:
    """The model branches of a graph, in its own order."""
    models, clips = sources(graph, "MODEL"), sources(graph, "CLIP")
    names = _names(graph, models)
    return tuple(Branch(name=names[m], model=m, clips=_clips_of(m, models, clips)) for m in models)


def _clips_of(model: Link, models: list[Link], clips: list[Link]) -> tuple[Link, ...]:
    """The CLIP sources of one branch: its checkpoint's own, or the text encoders that no other branch could mean."""
    if len(models) == 1:
        return tuple(clips)
    own = [clip for clip in clips if clip.node == model.node]
    bare = [other for other in models if all(other.node != clip.node for clip in clips)]
    if bare == [model]:
        loaders = {other.node for other in models}
        return tuple(clip for clip in clips if clip.node not in loaders)
    return tuple(own)


def _names(graph: Graph, models: list[Link]) -> dict[Link, str]:
    by_file = {model: _noise_of(graph, model.node) for model in models} if len(models) > 1 else {}
    named = by_file if any(by_file.values()) else _by_stage(graph, models)
    taken = list(named.values())
    unique = {model: name for model, name in named.items() if name and taken.count(name) == 1}
    return {model: unique.get(model, model.node) for model in models}


def _noise_of(graph: Graph, loader: str) -> str:
    """ "high" or "low" if a file name of the loader says so."""
    found = (_NOISE.search(value) for value in inputs_of(graph, loader).values() if isinstance(value, str))
    return next((match[1].lower() for match in found if match), "")


def _by_stage(graph: Graph, models: list[Link]) -> dict[Link, str]:
    """Two models whose samplers stand directly one behind the other: the first is "high", the second "low"."""
    for consumer in consumers(graph):
        if consumer.input == "latent_image" and len(models) == 2:
            first, second = (_model_of(graph, node) for node in (consumer.source.node, consumer.node))
            if first and second and {first, second} == set(models):
                return {first: "high", second: "low"}
    return {}


def _model_of(graph: Graph, sampler: str) -> Link | None:
    """The one MODEL source that a sampler runs, its guider's where it has one."""
    guider = source_of(graph, sampler, "guider")
    link = source_of(graph, guider.node if guider else sampler, "model")
    found = roots(graph, link, "MODEL") if link else []
    return found[0] if len(found) == 1 else None


def loras_of(graph: Graph) -> tuple[Lora, ...]:
    """Every LoRA on a model branch: branch by branch, in chain order; `branch` only where there are several.

    A LoRA that stands behind the merge of two branches is told once, without a branch.
    """
    found = branches(graph)
    places: dict[str, list[str]] = {}
    for branch in found:
        for node in _chain(graph, branch.model):
            places.setdefault(node, []).append(branch.name)
    return tuple(
        replace(lora, branch=names[0] if len(names) == 1 and len(found) > 1 else None)
        for node, names in places.items()
        if (lora := _lora_at(graph, node)) is not None
    )


def _chain(graph: Graph, source: Link) -> Iterator[str]:
    """The LoRA nodes that stem from a MODEL source, each after all those before it."""
    ways = {node: climb(graph, lora_output(node, "MODEL"), "MODEL") for node in graph if is_lora(graph, node)}
    ours = [node for node, way in ways.items() if source in way]
    yield from sorted(ours, key=lambda node: sum(is_lora(graph, link.node) for link in ways[node]))


def _lora_at(graph: Graph, node: str) -> Lora | None:
    inputs = inputs_of(graph, node)
    name, strength, clip = inputs.get("lora_name"), inputs.get("strength_model", 1.0), inputs.get("strength_clip")
    if not isinstance(name, str) or not isinstance(strength, int | float):
        return None
    own = float(clip) if isinstance(clip, int | float) and clip != strength else None
    return Lora(name=name, strength=float(strength), strength_clip=own)
