"""Which text nodes a conditioning stems from: followed through guidance, ControlNets, combinations and video nodes."""

from __future__ import annotations

from typing import Final

from comfygen.graph import Graph, Link, as_link, class_of, inputs_of
from comfygen.workflows.classes import NodeClasses, input_type
from comfygen.workflows.places import Opaque, Place, place_of

TEXTS: Final = frozenset(
    [
        *("text", "prompt", "user_prompt", "clip_l", "clip_g", "t5xxl", "llama", "qwen25_7b"),
        *("text_g", "text_l", "bert", "mt5xl"),
    ]
)
_SIDES: Final = ("positive", "negative")
_OTHERS: Final = frozenset(
    [
        *("model", "clip", "vae", "control_net", "style_model", "clip_vision", "clip_vision_output", "audio", "mask"),
        *("image", "images", "pixels", "init_image", "start_image", "end_image", "latent", "samples", "latent_image"),
    ]
)


def texts_of(graph: Graph, link: Link, side: str, classes: NodeClasses | None = None) -> list[Place | Opaque]:
    """Where the texts stand that the conditioning at `link` is made from, in the order of the way up.

    `side` is "positive" or "negative": some loaders hold both texts under these names.
    """
    found: dict[Place | Opaque, None] = {}
    todo, seen = [link], {link}
    while todo:
        here = todo.pop(0)
        # A zeroed conditioning keeps nothing of the text that it came from.
        above = [] if class_of(graph, here.node) == "ConditioningZeroOut" else _conditionings(graph, here, classes)
        if not above:
            found.update(dict.fromkeys(_texts_at(graph, here.node, side)))
        todo.extend(link for link in above if link not in seen)
        seen.update(above)
    return list(found)


def _texts_at(graph: Graph, node: str, side: str) -> list[Place | Opaque]:
    """The prompts of a text node: one, or one per text encoder."""
    names = [name for name in inputs_of(graph, node) if name in TEXTS] or [side]
    places = (place_of(graph, node, name) for name in names)
    return [place for place in places if place is not None]


def _conditionings(graph: Graph, link: Link, classes: NodeClasses | None) -> list[Link]:
    """The conditionings that go into this output of a node; none for a text node."""
    linked = [(name, source) for name, value in inputs_of(graph, link.node).items() if (source := as_link(value))]
    if sides := _sides(linked):
        return sides[min(link.slot, 1)] if sides[1] else sides[0]
    name_of_class = class_of(graph, link.node)
    declared = [
        source
        for name, source in linked
        if name.startswith("cond") or input_type(name_of_class, name, classes) == "CONDITIONING"
    ]
    if declared or any(name in TEXTS or name in _SIDES for name in inputs_of(graph, link.node)):
        return declared
    return [source for name, source in linked if name not in _OTHERS]


def _sides(linked: list[tuple[str, Link]]) -> tuple[list[Link], list[Link]] | None:
    """The positive and the negative conditionings of a node that has both: output 0 hands on the first, 1 the other."""
    positive = [source for name, source in linked if name.startswith("positive")]
    negative = [source for name, source in linked if name.startswith("negative")]
    return (positive, negative) if positive or negative else None
