"""Generation: one output that was ever made, as the row of history that its sidecar describes."""

from __future__ import annotations

from comfygen.generation.dialects import MAX_SIDECAR_BYTES, read_sidecar
from comfygen.generation.fields import SidecarUnreadable
from comfygen.generation.media import media_type_of
from comfygen.generation.pictures import BARE, MAX_PICTURE_BYTES, PICTURE_SUFFIXES, read_picture
from comfygen.generation.row import SIDECAR_SUFFIX, Generation, GenerationLora

__all__ = [
    "BARE",
    "MAX_PICTURE_BYTES",
    "MAX_SIDECAR_BYTES",
    "PICTURE_SUFFIXES",
    "SIDECAR_SUFFIX",
    "Generation",
    "GenerationLora",
    "SidecarUnreadable",
    "media_type_of",
    "read_picture",
    "read_sidecar",
]
