"""Generation: one output that was ever made, as the row of history that its sidecar describes."""

from __future__ import annotations

from comfygen.generation.dialects import MAX_SIDECAR_BYTES, read_sidecar
from comfygen.generation.fields import SidecarUnreadable
from comfygen.generation.media import media_type_of
from comfygen.generation.row import SIDECAR_SUFFIX, Generation, GenerationLora

__all__ = [
    "MAX_SIDECAR_BYTES",
    "SIDECAR_SUFFIX",
    "Generation",
    "GenerationLora",
    "SidecarUnreadable",
    "media_type_of",
    "read_sidecar",
]
