"""Sidecar: how one output was made, as the JSON object that is stored beside it.

The 13 classic keys come first and mean what they always meant, so that every old reader goes on working; all that is
needed to make the output again, to find it and to trust it stands beside them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, TypeAlias

from comfygen import __version__
from comfygen.graph import Graph
from comfygen.lora import Lora
from comfygen.plan import InputImage, Plan
from comfygen.request import Request

Content: TypeAlias = bytes  # the fields called `bytes` hide the type of that name
SCHEMA = 1
CLASSIC_KEYS = (
    "timestamp",
    "prompt",
    "negative_prompt",
    "workflow",
    "seed",
    "steps",
    "cfg",
    "sampler",
    "scheduler",
    "loras",
    "preset",
    "validation_score",
    "minio_url",
)


@dataclass(frozen=True, kw_only=True)
class Made:
    """The facts of a run that no plan can know: which output of which job this is, and how it came about.

    `batch_index` of `batch_of` is the job's place in its request, `image_index` of `image_of` the output's place in its
    job; all count from 1. `timings` are JSON values by name: moments (`…_at`) as text, durations in seconds.
    """

    request_id: str
    job_id: str
    batch_index: int
    batch_of: int
    image_index: int
    image_of: int
    node: str
    media_type: str
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    frames: int | None
    fps: float | None
    created: datetime
    timings: Mapping[str, object]
    attempts: int
    backend: str
    comfyui_version: str | None
    simulated: bool

    @property
    def id(self) -> str:
        """The job's id, with the output's number when there are several."""
        return self.job_id if self.image_of == 1 else f"{self.job_id}_{self.image_index}"


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """One output's metadata; the fields are the JSON keys, in their order. Lists and objects are JSON values."""

    timestamp: datetime
    prompt: str
    negative_prompt: str
    workflow: str
    seed: int | None
    steps: int | None
    cfg: float | None
    sampler: str | None
    scheduler: str | None
    loras: tuple[Mapping[str, object], ...]
    preset: str | None
    validation_score: float | None
    minio_url: str
    key: str
    id: str
    request: str
    job: str
    batch: Mapping[str, int]
    output_node: str
    media_type: str
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    frames: int | None
    fps: float | None
    models: tuple[str, ...]
    vae: str | None
    denoise: float | None
    graph: Graph
    graph_sha256: str
    input_image: Mapping[str, object] | None
    lora_details: tuple[Mapping[str, object], ...]
    tags: tuple[str, ...]
    project: str | None
    timings: Mapping[str, object]
    attempts: int
    backend: str
    comfyui_version: str | None
    simulated: bool
    output_name: str | None
    comfygen_version: str = field(default=__version__)
    schema: int = field(default=SCHEMA)

    def to_json(self) -> dict[str, Any]:
        """The JSON object: the classic keys first."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain |= {name: list(value) for name, value in plain.items() if isinstance(value, tuple)}
        return plain | {"timestamp": timestamp_text(self.timestamp)}

    def to_bytes(self) -> Content:
        """The file: UTF-8, indented, a newline at its end. Half a surrogate pair becomes its JSON escape."""
        text = json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False, indent=2)
        return f"{text}\n".encode("utf-8", "backslashreplace")


def make_sidecar(
    *, plan: Plan, key: str, url: str, request: Request, made: Made, validation_score: float | None = None
) -> Sidecar:
    """The sidecar of the output that is stored as `key` and found at `url`."""
    return Sidecar(
        timestamp=made.created,
        prompt=plan.prompt,
        negative_prompt=plan.negative_prompt,
        workflow=plan.workflow,
        seed=plan.seed,
        steps=plan.steps,
        cfg=plan.cfg,
        sampler=plan.sampler,
        scheduler=plan.scheduler,
        loras=classic_loras(plan.loras),
        preset=plan.preset,
        validation_score=validation_score,
        minio_url=bare_url(url),
        key=key,
        id=made.id,
        request=made.request_id,
        job=made.job_id,
        batch={"index": made.batch_index, "of": made.batch_of, "image": made.image_index, "images": made.image_of},
        output_node=made.node,
        media_type=made.media_type,
        bytes=made.bytes,
        sha256=made.sha256,
        width=made.width,
        height=made.height,
        frames=made.frames,
        fps=made.fps,
        models=plan.models,
        vae=plan.vae,
        denoise=plan.denoise,
        graph=plan.graph,
        graph_sha256=plan.graph_sha256,
        input_image=_input_image(plan.input_image),
        lora_details=tuple(_lora_detail(lora) for lora in plan.loras),
        tags=request.tags,
        project=request.project,
        timings=dict(made.timings),
        attempts=made.attempts,
        backend=bare_url(made.backend),
        comfyui_version=made.comfyui_version,
        simulated=made.simulated,
        output_name=request.output,
    )


def classic_loras(loras: tuple[Lora, ...]) -> tuple[Mapping[str, object], ...]:
    """Name and strength of each LoRA, in order; one that stands in several model branches is named once."""
    pairs = dict.fromkeys((lora.name, lora.strength) for lora in loras)
    return tuple({"name": name, "strength": strength} for name, strength in pairs)


def timestamp_text(moment: datetime) -> str:
    """`2026-01-04T01:10:32.123456Z`: UTC, always with microseconds, so that text order is time order."""
    if moment.tzinfo is None:
        raise ValueError("the timestamp of a sidecar needs a time zone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def bare_url(text: str) -> str:
    """A URL without what may be secret: user and password, query, fragment. What is no URL stays as it is."""
    scheme, mark, rest = text.partition("://")
    if not mark or not scheme.isascii() or "/" in scheme:
        return text
    authority, slash, path = re.split("[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _input_image(image: InputImage | None) -> Mapping[str, object] | None:
    if image is None:
        return None
    size = {"width": image.width, "height": image.height}
    return {"source": bare_url(image.source), "name": image.name, "sha256": image.sha256, **size}


def _lora_detail(lora: Lora) -> Mapping[str, object]:
    clip, branch = lora.strength_clip, lora.branch
    return {"name": lora.name, "strength": lora.strength, "strength_clip": clip, "branch": branch}
