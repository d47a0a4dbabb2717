"""Roles: which input of which node plays which part in a graph, found by following links from its samplers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from comfygen.graph import Graph, source_of
from comfygen.workflows.classes import NodeClasses, savers
from comfygen.workflows.latents import denoisings, images, lengths, rates, resizers, same_file, sides
from comfygen.workflows.places import Finding, Opaque, Place, literal_at, place_of
from comfygen.workflows.stages import Stage, makes_noise, stages_of
from comfygen.workflows.texts import texts_of

KEYS: Final = (
    *("prompt", "negative_prompt", "seed", "steps", "cfg", "sampler", "scheduler", "denoise"),
    *("width", "height", "frames", "fps", "input_image"),
)


class Window(NamedTuple):
    """A step number that belongs to a total: where a stage begins or ends, or where sigmas are split."""

    place: Place
    steps: Place


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What can be set in a graph.

    `places` maps a request key to every literal that carries it (all of them are written, the first is read);
    `blocked` says of a key why it has no place although the graph knows it. `samplers` are in the order in which they
    run; `resizers` have a size of their own behind a sampler; `more_images` load other files than the input image.
    """

    samplers: tuple[str, ...]
    outputs: tuple[str, ...]
    places: Mapping[str, tuple[Place, ...]]
    blocked: Mapping[str, str]
    windows: tuple[Window, ...] = ()
    resizers: tuple[str, ...] = ()
    more_images: tuple[Place, ...] = ()

    def at(self, key: str) -> tuple[Place, ...]:
        """The places of a request key; none if the graph has no place for it."""
        return self.places.get(key, ())

    def read(self, graph: Graph, key: str) -> object:
        """The value that a graph with these roles holds for a key, or None."""
        return next((literal_at(graph, place) for place in self.at(key)), None)

    @property
    def takes(self) -> tuple[str, ...]:
        """The request keys that have a place."""
        return tuple(key for key in KEYS if self.at(key))


def trace_roles(graph: Graph, classes: NodeClasses | None = None) -> Roles:
    """The roles of a graph. Node ids and titles tell nothing; `classes`, if known, make custom nodes clearer."""
    outputs = savers(graph, classes)
    stages = stages_of(graph, outputs)
    windows = list(_windows(graph, stages))
    pictures = images(graph, stages, outputs)
    findings = _findings(graph, stages, classes)
    findings["steps"] += [place for place, _ in windows if isinstance(place, Opaque)]
    findings["fps"] = list(rates(graph, outputs))
    findings["input_image"] = same_file(graph, pictures)
    blocked = {key: reason for key, found in findings.items() if (reason := _blocked(graph, found))} | _shared(findings)
    return Roles(
        samplers=tuple(stage.sampler for stage in stages),
        outputs=outputs,
        places={key: _places(found) for key, found in findings.items() if key not in blocked and _places(found)},
        blocked=blocked,
        windows=tuple(dict.fromkeys(Window(place, steps) for place, steps in windows if isinstance(place, Place))),
        resizers=resizers(graph, stages),
        more_images=tuple(place for place in pictures if place not in findings["input_image"]),
    )


def _findings(graph: Graph, stages: tuple[Stage, ...], classes: NodeClasses | None) -> dict[str, list[Finding]]:
    """What the stages tell: for each request key, where it stands or why that cannot be written."""
    return {
        "prompt": _texts(graph, stages, "positive", classes),
        "negative_prompt": _texts(graph, stages, "negative", classes),
        "seed": list(_seeds(graph, stages)),
        "steps": [place_of(graph, stage.sigmas, "steps") for stage in stages],
        "cfg": [place_of(graph, stage.guider, "cfg") for stage in stages],
        "sampler": [place_of(graph, stage.select, "sampler_name") for stage in stages],
        "scheduler": [place_of(graph, stage.sigmas, "scheduler") for stage in stages],
        "denoise": denoisings(graph, stages),
        "width": list(sides(graph, stages, "width")),
        "height": list(sides(graph, stages, "height")),
        "frames": list(lengths(graph, stages)),
    }


def _places(found: list[Finding]) -> tuple[Place, ...]:
    return tuple(dict.fromkeys(place for place in found if isinstance(place, Place)))


def _blocked(graph: Graph, found: list[Finding]) -> str | None:
    return next((opaque.reason(graph) for opaque in found if isinstance(opaque, Opaque)), None)


def _shared(findings: Mapping[str, list[Finding]]) -> dict[str, str]:
    """A negative prompt that is the positive one as well has no place: to write it would replace the prompt."""
    common = [place for place in _places(findings["negative_prompt"]) if place in findings["prompt"]]
    return {"negative_prompt": f"node {common[0].node} holds the prompt and the negative prompt"} if common else {}


def _texts(graph: Graph, stages: tuple[Stage, ...], side: str, classes: NodeClasses | None) -> list[Finding]:
    names = ("negative",) if side == "negative" else ("positive", "conditioning", "cond1", "cond2")
    links = [source_of(graph, stage.guider, name) for stage in stages for name in names]
    return [text for link in links if link for text in texts_of(graph, link, side, classes)]


def _seeds(graph: Graph, stages: tuple[Stage, ...]) -> Iterator[Finding]:
    for stage in stages:
        if makes_noise(graph, stage):
            yield from (place_of(graph, stage.noise, name) for name in ("seed", "noise_seed"))


def _windows(graph: Graph, stages: tuple[Stage, ...]) -> Iterator[tuple[Place | Opaque, Place]]:
    for stage in stages:
        steps = place_of(graph, stage.sigmas, "steps")
        inputs = [(stage.sampler, "start_at_step"), (stage.sampler, "end_at_step")]
        for node, name in [*inputs, *((split, "step") for split in stage.splits)]:
            place = place_of(graph, node, name)
            if place is not None and isinstance(steps, Place):
                yield place, steps
