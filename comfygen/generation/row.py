"""Generation and GenerationLora: a row of history and its child rows, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SIDECAR_SUFFIX: Final = ".json"


@dataclass(frozen=True, kw_only=True)
class GenerationLora:
    """A LoRA of a generation. `position` counts from 0 along the chain; the same LoRA may stand in several places."""

    position: int
    name: str
    strength: float
    strength_clip: float | None = None
    branch: str | None = None


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One output of history, decided by its key, the bytes of its sidecar and their etag, and nothing else.

    `key` is the object key of the output; `<key>.json` is its sidecar. Times are UTC in the one spelling
    `2026-01-04T01:10:32.123456Z`, so that they sort as text. `seed` is exact up to 2**64-1. None means: not known.
    `input_image` is the sidecar's own object as canonical JSON. `image_missing` is the one field that is observed
    rather than read: there is a sidecar, but no output beside it.
    """

    key: str
    timestamp: str
    prompt: str
    negative_prompt: str = ""
    workflow: str | None = None
    preset: str | None = None
    seed: int | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    validation_score: float | None = None
    minio_url: str | None = None

    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    denoise: float | None = None
    models: tuple[str, ...] = ()
    vae: str | None = None
    loras: tuple[GenerationLora, ...] = ()
    input_image: str | None = None
    tags: tuple[str, ...] = ()
    project: str | None = None

    id: str | None = None
    request: str | None = None
    job: str | None = None
    batch_index: int | None = None
    batch_of: int | None = None
    image_index: int | None = None
    output_node: str | None = None
    media_type: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    graph_sha256: str | None = None

    queued_at: str | None = None
    submitted_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    generated_at: str | None = None
    run_seconds: float | None = None
    attempts: int | None = None
    backend: str | None = None
    comfyui_version: str | None = None
    comfygen_version: str | None = None
    simulated: bool = False

    image_missing: bool = False
    source: str = ""
    sidecar_etag: str = ""

    @property
    def sidecar_key(self) -> str:
        """The object key of its sidecar."""
        return self.key + SIDECAR_SUFFIX

    @property
    def model(self) -> str | None:
        """The first model; what "the" model of a generation means."""
        return self.models[0] if self.models else None
