"""Sidecars that cannot be read: each is refused with a reason that names the place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfygen.generation import MAX_SIDECAR_BYTES, SidecarUnreadable, read_sidecar

GOOD: dict[str, object] = {"timestamp": "2026-01-04T01:10:32Z", "prompt": "a lake"}
NESTED: dict[str, object] = {"timestamp": "2026-01-04T01:10:32Z", "input": {"prompt": "a lake"}}


def reason(body: bytes, key: str = "a.png.json") -> str:
    with pytest.raises(SidecarUnreadable) as caught:
        read_sidecar(key, body)
    return caught.value.reason


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "It is no JSON: Expecting value: line 1 column 1 (char 0)."),
        (b'{"prompt": ', "It is no JSON: Expecting value: line 1 column 12 (char 11)."),
        (b'{"prompt": "\xff"}', "It is not UTF-8: invalid start byte at byte 12."),
        (b"[1, 2]", "It is JSON, but no object."),
        (b'{"cfg": NaN}', "It holds NaN, which is no JSON."),
        (b'{"cfg": -Infinity}', "It holds -Infinity, which is no JSON."),
        (b"[" * 100_000, "It is no JSON: maximum recursion depth exceeded"),
        (b" " * (MAX_SIDECAR_BYTES + 1), f"It has {MAX_SIDECAR_BYTES + 1} bytes, more than"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "It is no JSON: Exceeds the limit"),
        (b'{"key": "a request file"}', "It has no prompt: it describes no generation."),
        (b'{"prompt": "a lake"}', "It has no timestamp, and neither has its key."),
    ],
)
def test_no_sidecar_at_all(body: bytes, expected: str) -> None:
    """What is no JSON object of a sidecar's kind is refused as a whole."""
    actual = reason(body)
    assert expected == actual[: len(expected)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"prompt": 7}, "prompt is 7, not text."),
        ({"prompt": "\ud83d"}, "prompt holds half of a surrogate pair: it is no valid Unicode text."),
        ({"tags": ["a", "\udc00"]}, "tags holds half of a surrogate pair: it is no valid Unicode text."),
        ({"timestamp": "yesterday"}, "timestamp is 'yesterday', not an ISO 8601 time."),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp is '0001-01-01T00:00:00+14:00', not an ISO 8601 time."),
        ({"seed": -1}, "seed is -1, not a whole number from 0 to 18446744073709551615."),
        ({"seed": 2**64}, "seed is 18446744073709551616, not a whole number from 0 to 18446744073709551615."),
        ({"seed": 1.8446744073709552e19}, "seed is 1.8446744073709552e+19, not a whole number from"),
        ({"seed": "12345"}, "seed is '12345', not a whole number from 0 to 18446744073709551615."),
        ({"steps": True}, "steps is True, not a whole number from 0 to 9223372036854775807."),
        ({"bytes": 2**63}, "bytes is 9223372036854775808, not a whole number from 0 to 9223372036854775807."),
        ({"cfg": "7.5"}, "cfg is '7.5', not a number."),
        ({"cfg": 10**400}, "cfg is no finite number."),
        ({"simulated": "yes"}, "simulated is 'yes', not true or false."),
        ({"models": "a.safetensors"}, "models is 'a.safetensors', not a list."),
        ({"timings": []}, "timings is [], not an object."),
        ({"batch": {"index": "0"}}, "batch.index is '0', not a whole number from 0 to 9223372036854775807."),
        ({"loras": ["a:0.8"]}, "loras[0] is None, not an object."),
        ({"loras": [{"name": "a"}]}, "loras[0].name and strength are needed."),
        (
            {"prompt": ["word"] * 99},
            "prompt is ['word', 'word', 'word', 'word', 'word', 'word', 'word', ..., not text.",
        ),
    ],
)
def test_wrong_types(changes: dict[str, object], expected: str) -> None:
    """A value of another type is named with its place, what it is and what it should be."""
    actual = reason(json.dumps({**GOOD, **changes}).encode())
    assert expected == actual[: len(expected)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"parameters": {"resolution": [512]}}, "parameters.resolution is [512], not a list of width and height."),
        ({"parameters": {"resolution": [512, "x"]}}, "parameters.resolution.height is 'x', not a whole number from"),
        ({"quality": {"prompt_adherence": {"clip": "A"}}}, "quality.prompt_adherence.clip is 'A', not a number."),
    ],
)
def test_wrong_types_in_the_nested_format(changes: dict[str, object], expected: str) -> None:
    """The nested format is read as strictly."""
    actual = reason(json.dumps({**NESTED, **changes}).encode())
    assert expected == actual[: len(expected)]


def test_infinite_number() -> None:
    """A number that no float can hold is no number, though JSON may write it."""
    assert reason(b'{"timestamp": "2026-01-04", "prompt": "", "cfg": 1e999}') == "cfg is no finite number."


def test_key_without_an_output() -> None:
    """A file named .json is the sidecar of nothing."""
    assert reason(json.dumps(GOOD).encode(), ".json") == "It belongs to no output: its key is nothing but .json."


@settings(max_examples=30)
@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), lambda x: st.lists(x, max_size=3))
)
def test_nothing_else_is_ever_raised(value: object) -> None:
    """Whatever stands in every key, reading gives a row or SidecarUnreadable."""
    names = ("timestamp", "prompt", "seed", "cfg", "loras", "tags", "timings", "input_image", "simulated", "models")
    for name in names:
        try:
            read_sidecar("a.png.json", json.dumps({**GOOD, name: value}).encode())
        except SidecarUnreadable as error:
            assert error.reason
