"""The JSON schema of a request file, for editors: completion, descriptions and ranges while one types."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from comfygen.request.keys import KEYS, LORA_KEYS, MATRIX_KEYS
from comfygen.request.loras import LoraEntry
from comfygen.request.model import Request

Schema: TypeAlias = dict[str, Any]

# Keys that a file spells otherwise than the value that is made of them.
_SPELLED: Final[dict[str, Schema]] = {
    "workflow": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^./\\][^/\\]*$"},
    "output": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^./\\][^/\\]*$"},
    "prompt": {"type": "string", "minLength": 1},
    "seed": {"type": "integer", "minimum": -1, "maximum": 2**64 - 1},
    "resize": {"type": "string", "pattern": r"^[0-9]{1,6}[xX][0-9]{1,6}$"},
    "not_before": {"type": "string", "format": "date-time"},
    "timeout": {
        "oneOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": 604800},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*[smh]$"},
        ]
    },
}


def request_schema() -> dict[str, object]:
    """The JSON schema (draft 2020-12) of one document of a request file."""
    keys = _keys()
    keys["matrix"] = {"type": "object", "additionalProperties": False, "properties": _matrix(keys)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ComfyGen request",
        "description": "What to generate. Several requests in one file are separated by a line ---.",
        "type": "object",
        "additionalProperties": False,
        "required": ["workflow", "prompt"],
        "properties": {name: _described(name, schema) for name, schema in keys.items()},
    }


def _keys() -> dict[str, Schema]:
    """The bare schema of every key, in the order of the documentation."""
    made: dict[str, Schema] = Request.model_json_schema(by_alias=True)["properties"]
    keys = {name: _SPELLED.get(name, _bare(made[name])) for name in KEYS}
    keys["loras"] = {"type": "array", "maxItems": 100, "items": {"oneOf": [_lora_text(), _lora_mapping()]}}
    keys["tags"] = {"type": "array", "maxItems": 100, "items": {"type": "string", "minLength": 1, "maxLength": 128}}
    return keys


def _bare(schema: Schema) -> Schema:
    """The schema of a value that is there: without null, title and pydantic's own default."""
    for branch in schema.get("anyOf", ()):
        if branch.get("type") != "null":
            schema = {**schema, **branch}
    return {key: value for key, value in schema.items() if key not in ("anyOf", "title", "default")}


def _described(name: str, schema: Schema) -> Schema:
    key = KEYS[name]
    text = f"{key.meaning} Allowed: {key.allowed}."
    return {"title": name, "description": text, **schema, "examples": [key.example]}


def _matrix(keys: dict[str, Schema]) -> dict[str, Schema]:
    return {name: {"type": "array", "minItems": 1, "items": keys[name]} for name in MATRIX_KEYS}


def _lora_text() -> Schema:
    return {"type": "string", "minLength": 1, "description": "name:strength", "examples": LORA_EXAMPLES}


LORA_EXAMPLES: Final = ["watercolor_style.safetensors:0.8"]


def _lora_mapping() -> Schema:
    made: dict[str, Schema] = LoraEntry.model_json_schema()["properties"]
    properties = {
        name: {"description": f"{key.meaning} Allowed: {key.allowed}.", **_bare(made[name])}
        for name, key in LORA_KEYS.items()
    }
    return {"type": "object", "additionalProperties": False, "required": ["name"], "properties": properties}
