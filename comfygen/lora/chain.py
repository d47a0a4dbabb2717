"""LoRA injection: a graph with more LoRAs, each behind those already there, and every consumer behind the last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import count
from typing import Final, NamedTuple

from comfygen.errors import Problem, WorkflowInvalid
from comfygen.graph import Consumer, Graph, Link, Node, consumers, source_of, with_input
from comfygen.lora.branches import Branch, branches
from comfygen.lora.sources import Kind, climb, is_lora, lora_output
from comfygen.lora.value import Lora

FIRST_ID: Final = 100
MAX_DIGITS: Final = 15


class Tip(NamedTuple):
    """A link of MODEL or CLIP behind the last LoRA of its way, and the inputs that it feeds."""

    link: Link
    ends: tuple[Consumer, ...]


@dataclass(frozen=True, kw_only=True)
class Joint:
    """One place of the graph where new LoRAs go: behind `model`, and behind `clip` where there is one.

    `model_ends` and `clip_ends` are the inputs that shall end behind the new LoRAs. A joint belongs to every branch
    that leads to it: behind a merge, to several.
    """

    model: Link
    clip: Link | None
    model_ends: tuple[Consumer, ...] = ()
    clip_ends: tuple[Consumer, ...] = ()
    branches: tuple[Branch, ...] = ()


def inject(graph: Graph, loras: Sequence[Lora]) -> Graph:
    """The graph with `loras` in this order behind the LoRAs it has, on every branch that each of them means.

    Nothing but the inputs that took MODEL or CLIP there changes. Raises WorkflowInvalid with every LoRA that has no
    place: no model in the graph, an unknown branch, a `strength_clip` without a CLIP to put it onto.
    """
    found = branches(graph)
    if problems := [problem for lora in loras for problem in _problems(lora, found)]:
        raise WorkflowInvalid("A LoRA has no place in this graph.", problems=problems)
    changed, ids = dict(graph), _new_ids(graph)
    for joint in _joints(graph, found):
        meant = [lora for lora in loras if any(branch.is_meant(lora) for branch in joint.branches)]
        changed = _attached(changed, joint, meant, ids)
    return changed


def lora_node(lora: Lora, model: Link, clip: Link | None) -> Node:
    """A LoRA as a node: LoraLoader, or LoraLoaderModelOnly where there is no CLIP."""
    inputs: Node = {"model": list(model), "lora_name": lora.name, "strength_model": lora.strength}
    if clip is not None:
        strength_clip = lora.strength if lora.strength_clip is None else lora.strength_clip
        inputs = {"model": list(model), "clip": list(clip), **inputs, "strength_clip": strength_clip}
    name = "LoraLoaderModelOnly" if clip is None else "LoraLoader"
    return {"class_type": name, "inputs": inputs, "_meta": {"title": f"LoRA: {lora.name}"}}


def _problems(lora: Lora, found: Sequence[Branch]) -> Iterator[Problem]:
    meant = [branch for branch in found if branch.is_meant(lora)]
    if not found:
        yield Problem(field="loras", message=f"{lora.name} has no place: no node of this graph loads a model.")
    elif not meant:
        names = [branch.name for branch in found]
        near = get_close_matches(str(lora.branch), names, n=1)
        hint = f'Did you mean "{near[0]}"?' if near else "Leave branch out to mean every branch."
        message = f'{lora.name}: this graph has no branch "{lora.branch}".'
        yield Problem(field="loras", message=message, allowed=", ".join(names), hint=hint)
    elif lora.strength_clip is not None and not any(branch.clips for branch in meant):
        message = f"{lora.name}: strength_clip has no place, because no text encoder belongs to this model alone."
        yield Problem(field="loras", message=message, hint="Leave strength_clip out.")


def _new_ids(graph: Graph) -> Iterator[str]:
    """Node ids that are free: numbers above all numbers there, from 100 on."""
    numbers = [int(node) for node in graph if node.isascii() and node.isdecimal() and len(node) <= MAX_DIGITS]
    return map(str, count(max([FIRST_ID - 1, *numbers]) + 1))


def _joints(graph: Graph, found: Sequence[Branch]) -> list[Joint]:
    """Where new LoRAs go: each MODEL tip with a CLIP tip as far as they reach; CLIP tips left over stand alone."""
    joints: dict[Link, Joint] = {}
    alone: list[Joint] = []
    for branch in found:
        models = _tips(graph, branch.model, "MODEL")
        clips = {tip.link: tip for clip in branch.clips for tip in _tips(graph, clip, "CLIP")}
        for tip in models:
            joint = joints.get(tip.link) or _joint(tip, _partner(tip, models, clips))
            joints[tip.link] = replace(joint, branches=(*joint.branches, branch))
            clips = {link: clip for link, clip in clips.items() if link != joint.clip}
        alone += [
            Joint(model=branch.model, clip=clip.link, clip_ends=clip.ends, branches=(branch,))
            for clip in clips.values()
        ]
    return [*joints.values(), *alone]


def _joint(model: Tip, clip: Tip | None) -> Joint:
    if clip is None:
        return Joint(model=model.link, clip=None, model_ends=model.ends)
    return Joint(model=model.link, clip=clip.link, model_ends=model.ends, clip_ends=clip.ends)


def _partner(tip: Tip, models: Sequence[Tip], clips: dict[Link, Tip]) -> Tip | None:
    """The CLIP tip that a MODEL tip is handled with: that of its own node, or one that is no other MODEL tip's."""
    others = {model.link.node for model in models if model is not tip}
    free = [clip for link, clip in clips.items() if link.node not in others]
    return next((clip for clip in free if clip.link.node == tip.link.node), free[0] if free else None)


def _attached(graph: Graph, joint: Joint, loras: Sequence[Lora], ids: Iterator[str]) -> Graph:
    """The graph with a chain of `loras` at one joint."""
    model, clip, changed = joint.model, joint.clip, dict(graph)
    for lora in loras:
        node = next(ids)
        changed[node] = lora_node(lora, model, clip)
        model, clip = lora_output(node, "MODEL"), clip and lora_output(node, "CLIP")
    for end in joint.model_ends:
        changed = with_input(changed, end.node, end.input, list(model))
    for end in joint.clip_ends:
        changed = with_input(changed, end.node, end.input, list(clip or ()))
    return changed


def _tips(graph: Graph, source: Link, kind: Kind) -> list[Tip]:
    """The ends of a source's ways through the LoRAs behind it, as far as anything but a LoRA hangs on them."""
    leading = _leading(graph, kind)
    found, todo, seen = [], [source], {source}
    while todo:
        link = todo.pop(0)
        fed = [consumer for consumer in consumers(graph) if consumer.source == link]
        onward = {consumer: [way for way in leading if way.node == consumer.node] for consumer in fed}
        if ends := tuple(consumer for consumer in fed if not onward[consumer]):
            found.append(Tip(link, ends))
        following = [way for ways in onward.values() for way in ways if way not in seen]
        seen.update(following)
        todo.extend(dict.fromkeys(following))
    return found


def _leading(graph: Graph, kind: Kind) -> list[Link]:
    """The links that lead to a LoRA, or out of one: what stands before a LoRA keeps its place."""
    links: dict[Link, None] = {}
    for node in graph:
        if is_lora(graph, node) and (above := source_of(graph, node, kind.lower())):
            links.update(dict.fromkeys([lora_output(node, kind), *climb(graph, above, kind)]))
    return list(links)
