"""Reproducing: the request file that makes a generation again, checked against the graph that made it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from comfygen.errors import ComfyGenError
from comfygen.lora import Lora, loras_of
from comfygen.plan import InputImage, make_plan
from comfygen.request import Request, request_yaml
from comfygen.resources import Library
from comfygen.workflows import trace_roles

PLACED: Final = (
    "negative_prompt",
    "steps",
    "cfg",
    "sampler",
    "scheduler",
    "denoise",
    "width",
    "height",
    "frames",
    "fps",
)
SIZE: Final = {"width", "height"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A request file, and whether it gives the very graph that was run (None: nobody can tell)."""

    text: str
    is_exact: bool | None


def recipe(row: Mapping[str, Any], loras: Sequence[Lora], library: Library) -> Recipe:
    """The request file of a row. Raises RequestInvalid if the row cannot be said as a request at all."""
    requests = list(_candidates(row, loras, library))
    exact = next((request for request in requests if _graph(request, row, library) == row["graph_sha256"]), None)
    chosen = exact or requests[0]
    is_exact = None if row["graph_sha256"] is None else exact is not None
    notes = "\n".join(f"# {line}" for line in _notes(row, is_exact))
    return Recipe(text=f"{notes}\n{request_yaml(chosen)}", is_exact=is_exact)


def _candidates(row: Mapping[str, Any], loras: Sequence[Lora], library: Library) -> Iterator[Request]:
    """Ways to ask for the row, the likeliest first. A sidecar tells the size of the output, not of the first latent,
    and all LoRAs, not which of them the workflow has anyway."""
    own, takes = _workflow(row, library)
    fresh = _without(loras, own)
    keys = [key for key in PLACED if takes is None or key in takes]
    yield _request(row, keys, fresh, library)
    yield _request(row, [key for key in keys if key not in SIZE], fresh, library)
    yield _request(row, keys, loras, library)


def _workflow(row: Mapping[str, Any], library: Library) -> tuple[Sequence[Lora], tuple[str, ...] | None]:
    """The LoRAs that the workflow brings along, and the keys that have a place in it, if it is still there."""
    try:
        graph = library.workflow(row["workflow"] or "").graph
    except ComfyGenError:
        return (), None
    return loras_of(graph), trace_roles(graph).takes


def _without(loras: Sequence[Lora], own: Sequence[Lora]) -> list[Lora]:
    left = list(loras)
    for lora in own:
        if lora in left:
            left.remove(lora)
    return left


def _request(row: Mapping[str, Any], keys: Sequence[str], loras: Sequence[Lora], library: Library) -> Request:
    plain: dict[str, object] = {key: row[key] for key in keys if row[key] not in (None, "")}
    plain |= {"workflow": row["workflow"], "prompt": row["prompt"]}
    plain |= {"seed": int(row["seed_text"])} if row["seed_text"] is not None else {}
    plain |= {
        key: row[key] for key in ("preset", "project") if row[key] is not None and _exists(key, row[key], library)
    }
    image = _image(row)
    if image is not None:
        plain |= {"input_image": image.source, "resize": f"{image.width}x{image.height}"}
    plain |= {"tags": json.loads(row["tags"])} if row["tags"] != "[]" else {}
    plain |= {"loras": [_lora(lora) for lora in loras]} if loras else {}
    return Request.from_json(plain)


def _exists(key: str, name: str, library: Library) -> bool:
    """Whether a preset is still there; the values it gave are written out in any case."""
    try:
        return key != "preset" or bool(library.presets().preset(name))
    except ComfyGenError:
        return False


def _lora(lora: Lora) -> dict[str, object]:
    plain = {"name": lora.name, "strength": lora.strength, "strength_clip": lora.strength_clip, "branch": lora.branch}
    return {name: value for name, value in plain.items() if value is not None}


def _image(row: Mapping[str, Any]) -> InputImage | None:
    plain = json.loads(row["input_image"]) if row["input_image"] else {}
    return InputImage(**plain) if plain and None not in plain.values() else None


def _graph(request: Request, row: Mapping[str, Any], library: Library) -> str | None:
    """The hash of the graph that a request would run now; None if it would not run."""
    try:
        workflow, presets = library.workflow(request.workflow), library.presets()
        plan = make_plan(request, workflow=workflow, presets=presets, seed=request.seed or 0, input_image=_image(row))
    except ComfyGenError:
        return None
    return plan.graph_sha256


def _notes(row: Mapping[str, Any], is_exact: bool | None) -> Iterator[str]:
    yield f"Makes {row['key']} again." if row["key"].isprintable() else "Makes a generation again."
    if is_exact:
        yield "It gives the very same graph, checked just now."
    elif is_exact is False:
        yield "The graph that made it cannot be had exactly: its workflow has changed, or is not here."
    if row["input_image"]:
        yield "The input image is named as it was then; how it was cropped is not recorded."
