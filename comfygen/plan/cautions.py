"""Warnings of a plan: what will run as asked, but probably not as meant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from comfygen.graph import Graph, class_of
from comfygen.lora import loras_of
from comfygen.request import Request
from comfygen.workflows import Roles, literal_at, models_of

_DISTILLED: Final = re.compile(r"lightx2v|[0-9][-_ ]?steps?|lightning|hyper|turbo|lcm", re.IGNORECASE)
MAX_STEPS: Final = 12
MAX_CFG: Final = 2.0
SIDE_STEP: Final = 8


def cautions(
    request: Request,
    *,
    before: Graph,
    after: Graph,
    roles: Roles,
    proposed: Mapping[str, object],
    vain: Sequence[str],
) -> Iterator[str]:
    """What a person should know. `proposed` is what the preset says, `vain` those of its keys without a place."""
    for key in vain:
        yield f'Preset "{request.preset}": {key} has no place in this workflow and was left out.'
    if request.validate_image:
        yield "validate: this version has no scorer, so validation_score stays empty."
    yield from _few_steps(request, before, after, roles, proposed)
    yield from _prompts(request, before, after, roles)
    if odd := [key for key in ("width", "height") if (getattr(request, key) or 0) % SIDE_STEP]:
        yield f"{' and '.join(odd)} will be rounded down to a multiple of {SIDE_STEP}."
    if (request.width or request.height) and roles.resizers:
        yield f"The size does not change what {_named(before, roles.resizers)} makes of it."
    if request.input_image and roles.more_images:
        nodes = tuple(place.node for place in roles.more_images)
        yield f"The input image does not replace those of {_named(before, nodes)}."
    for (name, branch), times in Counter((lora.name, lora.branch) for lora in loras_of(after)).items():
        if times > 1:
            where = f" of branch {branch}" if branch else ""
            yield f"{name} stands {times} times in the chain{where}: its strengths add up."


def _few_steps(
    request: Request, before: Graph, after: Graph, roles: Roles, proposed: Mapping[str, object]
) -> Iterator[str]:
    """A preset made for ordinary models ruins a model or LoRA that was distilled to a few steps without guidance."""
    steps, cfg = (_number(roles.read(before, key)) for key in ("steps", "cfg"))
    names = [*(lora.name for lora in loras_of(before)), *models_of(before)]
    named = next((name for name in names if _DISTILLED.search(name)), None)
    if named is None or steps is None or cfg is None or steps > 8 or cfg > 1.5:
        return
    limits = {"steps": MAX_STEPS, "cfg": MAX_CFG}
    beyond = [key for key, most in limits.items() if key in proposed and (_number(proposed[key]) or 0) > most]
    if beyond:
        values = " and ".join(f"{key} {proposed[key]:g}" for key in beyond)
        yield (
            f'Preset "{request.preset}" sets {values}, but {named} is made for about {steps:g} steps at cfg {cfg:g}: '
            "expect burnt or slow results. Leave the preset out, or set steps and cfg yourself."
        )


def _prompts(request: Request, before: Graph, after: Graph, roles: Roles) -> Iterator[str]:
    for key in ("prompt", "negative_prompt"):
        texts = {literal_at(before, place) for place in roles.at(key)}
        if getattr(request, key) is not None and len(texts) > 1:
            yield f"The {key} replaces {len(texts)} different texts of this workflow."
    if request.negative_prompt and roles.read(after, "cfg") == 1:
        yield "The negative_prompt has no effect, because cfg is 1."


def _named(graph: Graph, nodes: Sequence[str]) -> str:
    return " and ".join(f"node {node} ({class_of(graph, node)})" for node in nodes)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
