"""Hypothesis strategies for values that people write into files."""

from __future__ import annotations

import string
from datetime import UTC, datetime

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from comfygen.lora import Lora
from comfygen.request import Request
from comfygen.request.fields import RESERVED

# The same examples on every machine, and no opinion about how fast the machine is.
few = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

clean_chars = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t")
texts = st.text(clean_chars, max_size=40)
prompts = texts.filter(lambda text: bool(text.strip()))
tricky_words = st.sampled_from(
    [
        "yes",
        "on",
        "null",
        "~",
        "true",
        "1e3",
        "0123",
        "12:30",
        ".nan",
        "2026-05-01",
        "- a",
        "a: b",
        "# x",
        "<<",
        "=",
        "[a]",
    ]
)
names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20) | tricky_words
file_names = st.text(string.ascii_letters + string.digits + "_- ", min_size=1, max_size=20).filter(
    lambda text: text == text.strip() and text.lower() not in RESERVED
)
numbers = st.floats(min_value=-100, max_value=100, allow_nan=False)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """A value, or nothing."""
    return st.none() | strategy


lora_names = names.filter(lambda name: name != "..") | st.sampled_from(
    ["C:\\a.safetensors", "sub/a.safetensors:1", "a:b"]
)
loras = st.builds(Lora, name=lora_names, strength=numbers, strength_clip=st.none() | numbers, branch=st.none() | names)

_FIELDS: dict[str, st.SearchStrategy[object]] = {
    "negative_prompt": texts,
    "preset": names,
    "seed": st.integers(0, 2**64 - 1),
    "steps": st.integers(1, 10_000),
    "cfg": st.floats(0, 100),
    "sampler": names,
    "width": st.integers(16, 16384),
    "denoise": st.floats(0, 1),
    "frames": st.integers(1, 100_000),
    "fps": st.floats(0, 240, exclude_min=True),
    "loras": st.lists(loras, max_size=3).map(tuple),
    "resize": st.tuples(st.integers(16, 16384), st.integers(16, 16384)),
    "crop": st.sampled_from(["center", "cover", "contain"]),
    "count": st.integers(1, 5),
    "matrix": st.fixed_dictionaries(
        {},
        optional={
            "cfg": st.lists(st.floats(0, 100), min_size=1, max_size=3),
            "prompt": st.lists(prompts, min_size=1, max_size=3),
        },
    ),
    "validate_image": st.booleans(),
    "metadata": st.booleans(),
    "output": file_names,
    "tags": st.lists(names, max_size=3).map(tuple),
    "id": names,
    "priority": st.integers(-1000, 1000),
    "not_before": st.datetimes(
        min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)
    ),
    "timeout": st.floats(0, 604_800, exclude_min=True),
}


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any valid request."""
    fields = draw(st.fixed_dictionaries({}, optional=_FIELDS))
    required = {"workflow": draw(file_names), "prompt": draw(prompts), "input_image": draw(names)}
    return Request.model_validate({**required, **fields})
