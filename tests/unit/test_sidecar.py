"""Sidecars and object keys: the 13 classic keys verbatim, everything else beside them, and keys that always fit."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from comfygen.lora import Lora
from comfygen.plan import InputImage, Plan
from comfygen.request import Request
from comfygen.sidecar import (
    CLASSIC_KEYS,
    Made,
    Sidecar,
    bare_url,
    make_sidecar,
)

STAMP = datetime(2026, 1, 4, 1, 10, 32, 123456, tzinfo=UTC)
JOB = "abcdefgh2345"
URL = "http://192.0.2.5:9000/comfy-gen/20260104_011032_lake-abcdefgh2345.png"
PLAN = Plan(
    workflow="flux-dev.json",
    graph={"1": {"class_type": "KSampler", "inputs": {"seed": 2**64 - 1}}},
    graph_sha256="0f" * 32,
    prompt="a lake at dawn, Straße 🌅",
    negative_prompt="",
    seed=2**64 - 1,
    steps=30,
    cfg=7.5,
    sampler="euler",
    scheduler="normal",
    denoise=0.7,
    width=1024,
    height=1024,
    frames=None,
    fps=None,
    loras=(
        Lora(name="style.safetensors", strength=0.8, branch="high"),
        Lora(name="light.safetensors", strength=1.0, strength_clip=0.5),
        Lora(name="style.safetensors", strength=0.8, branch="low"),
    ),
    preset="high-quality",
    models=("flux1-dev.safetensors",),
    vae="ae.safetensors",
    input_image=InputImage(
        source="https://me:secret@example.org/a@2x.png?token=1#x", name="in.png", sha256="ab", width=64, height=32
    ),
    output_nodes=("9",),
)
REQUEST = Request(workflow="flux-dev", prompt="a lake", output="lake.png", tags=("dawn",), project="lakes")
MADE = Made(
    request_id="r1",
    job_id=JOB,
    batch_index=2,
    batch_of=3,
    image_index=1,
    image_of=1,
    node="9",
    media_type="image/png",
    bytes=1234,
    sha256="cd" * 32,
    width=1024,
    height=768,
    frames=1,
    fps=None,
    created=STAMP,
    timings={"run_seconds": 4.5},
    attempts=1,
    backend="http://me:secret@gpu:8188",
    comfyui_version="0.9.2",
    simulated=False,
)


def sidecar(plan: Plan = PLAN, made: Made = MADE) -> Sidecar:
    """The sidecar of the one output above."""
    return make_sidecar(plan=plan, key="lake.png", url=URL, request=REQUEST, made=made, validation_score=0.85)


def plain(plan: Plan = PLAN, made: Made = MADE) -> dict[str, Any]:
    """The same, read back from its bytes."""
    value = json.loads(sidecar(plan, made).to_bytes())
    assert isinstance(value, dict)
    return value


def test_classic_keys_come_first_and_mean_what_they_meant() -> None:
    """The 13 keys of old are there verbatim, in their order, before all others."""
    classic = {
        "timestamp": "2026-01-04T01:10:32.123456Z",
        "prompt": "a lake at dawn, Straße 🌅",
        "negative_prompt": "",
        "workflow": "flux-dev.json",
        "seed": 2**64 - 1,
        "steps": 30,
        "cfg": 7.5,
        "sampler": "euler",
        "scheduler": "normal",
        "loras": [
            {"name": "style.safetensors", "strength": 0.8},
            {"name": "light.safetensors", "strength": 1.0},
        ],
        "preset": "high-quality",
        "validation_score": 0.85,
        "minio_url": URL,
    }
    assert list(plain().items())[:13] == list(classic.items())


def test_all_else_stands_beside_them() -> None:
    """Place, file, models, graph, input image, origin: the whole list of keys, once each."""
    beside = """key id request job batch output_node media_type bytes sha256 width height frames fps models vae denoise
        graph graph_sha256 input_image lora_details tags project timings attempts backend comfyui_version simulated
        output_name comfygen_version schema"""
    assert list(plain()) == [*CLASSIC_KEYS, *beside.split()]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("batch", {"index": 2, "of": 3, "image": 1, "images": 1}),
        ("graph", {"1": {"class_type": "KSampler", "inputs": {"seed": 2**64 - 1}}}),
        ("models", ["flux1-dev.safetensors"]),
        ("tags", ["dawn"]),
        ("timings", {"run_seconds": 4.5}),
        ("output_name", "lake.png"),
        ("height", 768),
        ("backend", "http://gpu:8188"),
        ("schema", 1),
    ],
)
def test_values_beside_the_classic_ones(key: str, expected: object) -> None:
    """Each fact comes from where it is known: the plan, the request or the run."""
    assert plain()[key] == expected


def test_lora_details_name_every_node() -> None:
    """A LoRA in two branches is two details, but one classic entry."""
    branches = [(lora["name"], lora["strength_clip"], lora["branch"]) for lora in plain()["lora_details"]]
    assert branches == [
        ("style.safetensors", None, "high"),
        ("light.safetensors", 0.5, None),
        ("style.safetensors", None, "low"),
    ]


def test_input_image_tells_no_secret() -> None:
    """The source of an input image loses password, query and fragment."""
    image = {"source": "https://example.org/a@2x.png", "name": "in.png", "sha256": "ab", "width": 64, "height": 32}
    assert plain()["input_image"] == image


def test_no_input_image_is_null() -> None:
    """What was made from text alone has no input image."""
    assert plain(replace(PLAN, input_image=None))["input_image"] is None


@pytest.mark.parametrize(("index", "of", "expected"), [(1, 1, JOB), (1, 2, f"{JOB}_1"), (12, 12, f"{JOB}_12")])
def test_id_is_the_job_and_the_number_if_there_are_several(index: int, of: int, expected: str) -> None:
    """Every output has an id of its own."""
    assert sidecar(made=replace(MADE, image_index=index, image_of=of)).id == expected


def test_timestamp_is_utc_with_all_six_digits() -> None:
    """A local time is told in UTC, and a round second keeps its zeros, so that text order is time order."""
    local = datetime(2026, 1, 4, 3, 10, 32, tzinfo=timezone(timedelta(hours=2)))
    assert plain(made=replace(MADE, created=local))["timestamp"] == "2026-01-04T01:10:32.000000Z"


def test_time_without_a_zone_is_refused() -> None:
    """Nobody guesses a zone."""
    with pytest.raises(ValueError, match="time zone"):
        sidecar(made=replace(MADE, created=datetime(2026, 1, 4))).to_bytes()


def test_bytes_are_readable_json() -> None:
    """UTF-8 as it is, indented, one newline at the end."""
    body = sidecar().to_bytes()
    assert (body[:4], body[-2:], "Straße 🌅".encode() in body) == (b"{\n  ", b"}\n", True)


@pytest.mark.parametrize("prompt", ["nul \0", "\x1b[31m red", "half \ud83c", '"\\\n', "\u2028"])
def test_hostile_prompts_give_valid_json(prompt: str) -> None:
    """Control characters and halves of surrogate pairs are escaped, never written raw, and come back."""
    body = sidecar(replace(PLAN, prompt=prompt)).to_bytes()
    assert (json.loads(body.decode())["prompt"], b"\x1b" in body, b"\0" in body) == (prompt, False, False)


def test_what_json_cannot_say_is_refused() -> None:
    """No sidecar ever holds NaN, which other readers choke on."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        sidecar(replace(PLAN, cfg=float("nan"))).to_bytes()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:pass@host:9000/a/b.png?X-Amz-Signature=1#f", "http://host:9000/a/b.png"),
        ("http://host/photo@2x.png", "http://host/photo@2x.png"),
        ("http://[::1]:8188", "http://[::1]:8188"),
        ("http://[bad", "http://[bad"),
        ("file:///out/a%3Fb.png", "file:///out/a%3Fb.png"),
        ("photos/a?b#c.png", "photos/a?b#c.png"),
        ("C:/photos/what://x?y", "C:/photos/what://x?y"),
    ],
)
def test_bare_url(text: str, expected: str) -> None:
    """A URL loses what may be secret; a path is no URL."""
    assert bare_url(text) == expected
