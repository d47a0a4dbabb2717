"""Generations as rows of index.db, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from comfygen.generation import Generation, GenerationLora
from comfygen.generation.fields import INT64
from comfygen.index.schema import COLUMNS

SLOTS: Final = 4096
_MADE: Final = {"seed", "seed_text", "models", "tags", "simulated", "image_missing"}
_PLAIN: Final = tuple(name for name in COLUMNS if name not in _MADE)
_plain: Final = attrgetter(*_PLAIN)

Row = tuple[object, ...]


def row_of(generation: Generation) -> Row:
    """The values of a row, in the order of COLUMNS."""
    seed = generation.seed
    values = {
        **dict(zip(_PLAIN, _plain(generation), strict=True)),
        "seed": seed if seed is not None and seed <= INT64 else None,
        "seed_text": None if seed is None else str(seed),
        "models": _listed(generation.models),
        "tags": _listed(generation.tags),
        "simulated": int(generation.simulated),
        "image_missing": int(generation.image_missing),
    }
    return tuple(values[name] for name in COLUMNS)


def lora_rows(generation: Generation) -> list[Row]:
    """The child rows: key, LoRA id, position, strength, strength_clip, branch, timestamp."""
    key, timestamp = generation.key, generation.timestamp
    return [
        (key, lora_id(lora.name), lora.position, lora.strength, lora.strength_clip, lora.branch, timestamp)
        for lora in generation.loras
    ]


def lora_id(name: str) -> int:
    """The id of a LoRA: 48 bits of the hash of its name, so that a rebuilt index has the same ids."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")


def generation_of(row: Mapping[str, Any], loras: Iterable[Sequence[Any]]) -> Generation:
    """The generation that a row and its child rows (position, name, strength, strength_clip, branch) say."""
    values = {
        **{name: row[name] for name in _PLAIN if name not in {"model", "sidecar_key"}},
        "seed": None if row["seed_text"] is None else int(row["seed_text"]),
        "models": tuple(json.loads(row["models"])),
        "tags": tuple(json.loads(row["tags"])),
        "simulated": bool(row["simulated"]),
        "image_missing": bool(row["image_missing"]),
        "loras": tuple(
            GenerationLora(position=position, name=name, strength=strength, strength_clip=clip, branch=branch)
            for position, name, strength, clip, branch in loras
        ),
    }
    return Generation(**values)


def first_slot(timestamp: str) -> int:
    """The first rowid of the second that a generation was made in."""
    return int(datetime.fromisoformat(timestamp).timestamp() // 1) * SLOTS


def _listed(texts: Sequence[str]) -> str:
    return json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
