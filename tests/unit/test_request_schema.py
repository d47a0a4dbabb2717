"""The JSON schema of a request file, and the words about its keys, against what the parser really does."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from comfygen.errors import RequestInvalid
from comfygen.request import KEYS, LORA_KEYS, MATRIX_KEYS, Request, request_schema
from comfygen.request.loras import LoraEntry

SCHEMA: dict[str, Any] = json.loads(json.dumps(request_schema()))
KEY_SCHEMAS: dict[str, Any] = SCHEMA["properties"]
RANGED = [(name, schema) for name, schema in KEY_SCHEMAS.items() if {"minimum", "exclusiveMinimum"} & set(schema)]
LEAST = {"workflow": "w", "prompt": "p", "input_image": "x.png"}


def accepted(name: str, value: object) -> bool:
    """Whether the parser takes a value for a key."""
    try:
        Request.from_json({**LEAST, name: value})
    except RequestInvalid:
        return False
    return True


def test_the_schema_knows_every_key_of_the_model() -> None:
    """Keys, words about them and fields of the model are the same set."""
    fields = ["validate" if name == "validate_image" else name for name in Request.model_fields]
    assert fields == list(KEYS) == list(KEY_SCHEMAS)
    assert list(LORA_KEYS) == list(LoraEntry.model_fields)
    assert SCHEMA["required"] == ["workflow", "prompt"]


def test_every_key_is_described() -> None:
    """An editor shows a title, a sentence and an example for each key."""
    assert [
        name for name, schema in KEY_SCHEMAS.items() if not {"title", "description", "examples"} <= set(schema)
    ] == []
    assert SCHEMA["title"] and SCHEMA["description"] and SCHEMA["additionalProperties"] is False


@pytest.mark.parametrize("name", KEYS)
def test_the_example_of_a_key_is_valid(name: str) -> None:
    """What documentation shows for a key can be copied."""
    assert accepted(name, KEYS[name].example)


@pytest.mark.parametrize(("name", "schema"), RANGED, ids=[name for name, _ in RANGED])
def test_the_ranges_are_those_of_the_parser(name: str, schema: dict[str, Any]) -> None:
    """At the bounds of the schema the parser accepts, beyond them it refuses, and the words tell the same numbers."""
    low, high = schema.get("minimum"), schema["maximum"]
    assert accepted(name, low) if low is not None else not accepted(name, schema["exclusiveMinimum"])
    assert accepted(name, high if name != "count" else 1000)
    assert not accepted(name, high + 1)
    assert not accepted(name, (low if low is not None else 0) - 1)
    assert str(high) in KEYS[name].allowed


def test_most_keys_have_a_range_or_a_choice() -> None:
    """The numbers of a request are bounded."""
    assert {"seed", "steps", "cfg", "width", "height", "denoise", "frames", "fps", "count", "priority"} == dict(
        RANGED
    ).keys()
    assert KEY_SCHEMAS["crop"]["enum"] == ["center", "cover", "contain"]


def test_loras_have_both_spellings() -> None:
    """A LoRA is a text or a mapping, each described."""
    text, mapping = KEY_SCHEMAS["loras"]["items"]["oneOf"]
    assert (text["type"], mapping["type"]) == ("string", "object")
    assert mapping["required"] == ["name"]
    assert (mapping["properties"]["strength"]["minimum"], mapping["properties"]["strength"]["maximum"]) == (-100, 100)
    assert all(part["description"] for part in mapping["properties"].values())


def test_the_matrix_offers_lists_of_the_keys_that_vary() -> None:
    """Each key of the matrix holds a list of what the key itself holds."""
    lists = KEY_SCHEMAS["matrix"]["properties"]
    assert list(MATRIX_KEYS) == list(lists)
    assert (
        lists["steps"]["type"],
        lists["steps"]["minItems"],
        lists["steps"]["items"]["maximum"],
    ) == ("array", 1, 10_000)
    assert set() == {"id", "output", "count", "matrix", "priority", "metadata", "tags", "timeout"} & set(lists)


@pytest.mark.parametrize("name", ["workflow", "output", "resize"])
@pytest.mark.parametrize("value", ["a", "a.json", "../a", "a/b", "a\\b", ".a", "64x64", "64", "x"])
def test_the_patterns_agree_with_the_parser(name: str, value: str) -> None:
    """What an editor underlines is what the parser refuses."""
    assert accepted(name, value) == bool(re.search(KEY_SCHEMAS[name]["pattern"], value))
