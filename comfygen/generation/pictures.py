"""Pictures without a sidecar: what ComfyUI itself wrote into a PNG tells how it was made."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

from comfygen.errors import ComfyGenError
from comfygen.generation.dialects import STAMP, read_sidecar
from comfygen.generation.fields import UINT64, Fields, SidecarUnreadable, spelled
from comfygen.generation.media import media_type_of
from comfygen.generation.row import Generation, GenerationLora
from comfygen.graph import Graph, graph_sha256
from comfygen.images import check_image, text_chunks
from comfygen.lora import loras_of
from comfygen.workflows import Roles, models_of, strip, trace_roles, vae_of

PICTURE_SUFFIXES: Final = (".png",)
MAX_PICTURE_BYTES: Final = 64 * 2**20
BARE: Final = "bare:"  # begins the etag of a row that was read from the picture itself


def read_picture(key: str, content: bytes, *, etag: str, source: str, modified: datetime | None) -> Generation:
    """The generation that a PNG tells of, by its chunks `comfygen_metadata` or `prompt` (the posted graph).

    Its row has the etag of the picture, after `bare:`. Raises SidecarUnreadable when the picture tells nothing.
    """
    chunks = text_chunks(content)
    if "comfygen_metadata" in chunks:
        return read_sidecar(key, chunks["comfygen_metadata"].encode(), etag=BARE + etag, source=source)
    if "prompt" not in chunks:
        raise SidecarUnreadable("There is no sidecar, and the picture does not tell how it was made.")
    graph = _graph(chunks["prompt"])
    try:
        told = _told(graph, trace_roles(graph))
        facts = check_image(content)
    except ComfyGenError as exc:
        raise SidecarUnreadable(f"There is no sidecar, and the picture cannot be read: {exc.message}") from exc
    return Generation(
        **told,
        key=key,
        timestamp=_time(key, modified),
        width=facts.width,
        height=facts.height,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        media_type=media_type_of(key),
        source=source,
        sidecar_etag=BARE + etag,
    )


def _graph(text: str) -> Graph:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise SidecarUnreadable(f"There is no sidecar, and the picture's own graph is no JSON: {exc}.") from exc
    graph = strip(document) if isinstance(document, dict) else {}
    if not graph:
        raise SidecarUnreadable("There is no sidecar, and the picture's own graph has no nodes.")
    return graph


def _told(graph: Graph, roles: Roles) -> dict[str, Any]:
    """What the graph says, through the same tracing that requests go through."""
    names = ("prompt", "negative_prompt", "seed", "steps", "cfg", "sampler", "scheduler", "denoise")
    read = Fields({name: roles.read(graph, name) for name in names})
    loras = [
        GenerationLora(
            position=n, name=each.name, strength=each.strength, strength_clip=each.strength_clip, branch=each.branch
        )
        for n, each in enumerate(loras_of(graph))
    ]
    return {
        "prompt": read.text("prompt") or "",
        "negative_prompt": read.text("negative_prompt") or "",
        "seed": read.integer("seed", high=UINT64),
        "steps": read.integer("steps"),
        "cfg": read.number("cfg"),
        "sampler": read.text("sampler"),
        "scheduler": read.text("scheduler"),
        "denoise": read.number("denoise"),
        "models": models_of(graph),
        "vae": vae_of(graph),
        "loras": tuple(loras),
        "graph_sha256": graph_sha256(graph),
    }


def _time(key: str, modified: datetime | None) -> str:
    """When it was made: as its key says, or as old as the object is."""
    if found := STAMP.search(key):
        try:
            return spelled(datetime.strptime(found[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC))
        except ValueError:
            pass
    return spelled(modified or datetime.fromtimestamp(0, UTC))
