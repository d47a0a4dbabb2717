"""Sidecar: the metadata JSON beside an output, and the keys of both."""

from __future__ import annotations

from comfygen.sidecar.keys import base_name, clean_name, object_key, output_key, sidecar_key
from comfygen.sidecar.value import CLASSIC_KEYS, Made, Sidecar, bare_url, make_sidecar, timestamp_text

__all__ = [
    "CLASSIC_KEYS",
    "Made",
    "Sidecar",
    "bare_url",
    "base_name",
    "clean_name",
    "make_sidecar",
    "object_key",
    "output_key",
    "sidecar_key",
    "timestamp_text",
]
