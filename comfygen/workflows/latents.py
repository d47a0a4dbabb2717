"""Where a graph's pictures and their sizes begin: latent sizes, lengths, denoising, input images, frame rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from comfygen.graph import Graph, Link, class_of, inputs_of
from comfygen.workflows.places import Finding, Place, literal_at, place_of, upstream
from comfygen.workflows.stages import Stage, is_sampler, latent_of, latent_way

_LENGTHS: Final = ("length", "num_frames", "video_frames")
_RATES: Final = ("fps", "frame_rate")
_SIZED_ALIKE: Final = ("ModelSamplingFlux", "Flux2Scheduler")
_NO_PICTURE: Final = ("LoadImageMask", "LoadImageOutput")


def sides(graph: Graph, stages: tuple[Stage, ...], name: str) -> Iterator[Finding]:
    """`width` or `height`: of what sizes the first latents, then of nodes that must be told the same."""
    sized = _sized(graph, stages)
    starts = [Link(stage.sampler, 0) for stage in stages]
    alike = [link.node for link in upstream(graph, starts) if class_of(graph, link.node) in _SIZED_ALIKE]
    return (place_of(graph, node, name) for node in [*sized, *(alike if sized else [])])


def lengths(graph: Graph, stages: tuple[Stage, ...]) -> Iterator[Finding]:
    """The number of frames, where a size has one."""
    return (place_of(graph, node, name) for node in _sized(graph, stages) for name in _LENGTHS)


def _sized(graph: Graph, stages: tuple[Stage, ...]) -> list[str]:
    """The nodes that size the first latents: of each stage the nearest one that stands before all samplers."""
    ways = ([node for node in _with_size(graph, stage) if not _is_behind_sampler(graph, node)] for stage in stages)
    return list(dict.fromkeys(way[0] for way in ways if way))


def resizers(graph: Graph, stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Nodes with a size of their own between two samplers."""
    found = (node for stage in stages for node in _with_size(graph, stage) if _is_behind_sampler(graph, node))
    return tuple(dict.fromkeys(found))


def _with_size(graph: Graph, stage: Stage) -> list[str]:
    """The nodes with a width and a height on the way of a stage's latent, nearest first."""
    return [node for node in latent_way(graph, stage.sampler) if {"width", "height"} <= inputs_of(graph, node).keys()]


def _is_behind_sampler(graph: Graph, node: str) -> bool:
    return any(is_sampler(graph, above) for above in latent_way(graph, node))


def denoisings(graph: Graph, stages: tuple[Stage, ...]) -> list[Finding]:
    """Denoising belongs to the stages that start from a picture; without one, to later passes, or else to the first.

    So the share of a second pass over an upscaled picture stays the workflow's own where the first one starts from a
    picture too, and a first pass over nothing stays whole.
    """
    first = [stage for stage in stages if not _is_behind_sampler(graph, stage.sampler)]
    pictured = [stage for stage in first if not _starts_blank(graph, stage)]
    later = [stage for stage in stages if stage not in first]
    tries = ([place_of(graph, stage.sigmas, "denoise") for stage in chosen] for chosen in (pictured, later, first))
    return next((found for found in tries if any(found)), [])


def _starts_blank(graph: Graph, stage: Stage) -> bool:
    """Whether a stage's latent begins in a node that has nothing but a size."""
    return any(not latent_of(graph, node) for node in _with_size(graph, stage))


def images(graph: Graph, stages: tuple[Stage, ...], outputs: tuple[str, ...]) -> list[Place]:
    """The pictures that the samplers see, those on the way of the latent first; without samplers, all of them."""
    ways = [link for stage in stages for link in latent_of(graph, stage.sampler)]
    nodes = [Link(node, 0) for node in ([stage.sampler for stage in stages] or outputs)]
    seen = [*upstream(graph, ways), *upstream(graph, nodes)]
    found = (Place(link.node, "image") for link in seen if link.slot == 0 and _loads_image(graph, link.node))
    return list(dict.fromkeys(found))


def _loads_image(graph: Graph, node: str) -> bool:
    name, image = class_of(graph, node), inputs_of(graph, node).get("image")
    return name.startswith("LoadImage") and name not in _NO_PICTURE and isinstance(image, str)


def same_file(graph: Graph, found: list[Place]) -> list[Finding]:
    """The first picture, and the others that load the same file."""
    return [place for place in found if literal_at(graph, place) == literal_at(graph, found[0])]


def rates(graph: Graph, outputs: tuple[str, ...]) -> Iterator[Finding]:
    """The frame rates between the samplers and the outputs."""
    starts = [Link(node, 0) for node in outputs]
    for link in upstream(graph, starts, until=lambda node: is_sampler(graph, node)):
        if not is_sampler(graph, link.node):
            yield from (place_of(graph, link.node, name) for name in _RATES)
