"""Request: the value, its round trips, and what a valid file becomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from pydantic import ValidationError

from comfygen.errors import InvalidInput
from comfygen.lora import Lora
from comfygen.request import Request, expand, lora_text, parse_lora, parse_requests, request_yaml
from tests.unit.strategies import few, loras, requests

EXAMPLES = sorted((Path(__file__).parents[2] / "requests").glob("*.example.yaml"))
EVERY_KEY = b"""
workflow: flux-dev.json
prompt: a mountain landscape
negative_prompt: ""
preset: draft
seed: 18446744073709551615
steps: 20
cfg: 7
sampler: euler
scheduler: karras
width: 768
height: 512
denoise: 1
frames: 81
fps: 16
loras:
  - watercolor_style.safetensors:0.7
  - detail_enhance.safetensors
  - {name: motion_wan.safetensors, strength: -1, strength_clip: 0.5, branch: high}
lora_preset: simple_image
input_image: cars/red car.png
resize: 1024x768
crop: cover
count: 3
matrix: {cfg: [5, 7.5]}
validate: true
metadata: false
output: mountain.png
tags: [landscape, "2026"]
project: calendar
id: calendar-may
priority: -5
not_before: 2026-05-01T22:00:00+02:00
timeout: 10m
"""


def one(text: str) -> Request:
    """The request of a file with the least that one needs, and `text`."""
    [request] = parse_requests(f"workflow: w\nprompt: p\n{text}\n".encode(), file="x.yaml")
    return request


def test_a_file_with_every_key_becomes_a_value() -> None:
    """Each key arrives in its field as the type that the rest of the program works with."""
    [request] = parse_requests(EVERY_KEY, file="x.yaml")
    expected = Request(
        workflow="flux-dev.json",
        prompt="a mountain landscape",
        negative_prompt="",
        preset="draft",
        seed=2**64 - 1,
        steps=20,
        cfg=7.0,
        sampler="euler",
        scheduler="karras",
        width=768,
        height=512,
        denoise=1.0,
        frames=81,
        fps=16.0,
        loras=(
            Lora(name="watercolor_style.safetensors", strength=0.7),
            Lora(name="detail_enhance.safetensors"),
            Lora(name="motion_wan.safetensors", strength=-1.0, strength_clip=0.5, branch="high"),
        ),
        lora_preset="simple_image",
        input_image="cars/red car.png",
        resize=(1024, 768),
        crop="cover",
        count=3,
        matrix={"cfg": [5, 7.5]},
        validate_image=True,
        metadata=False,
        output="mountain.png",
        tags=("landscape", "2026"),
        project="calendar",
        id="calendar-may",
        priority=-5,
        not_before=datetime(2026, 5, 1, 20, tzinfo=UTC),
        timeout=600.0,
    )
    assert request == expected


def test_what_is_left_out_is_left_open() -> None:
    """Without keys nothing is asked for; a key without a value is as good as left out."""
    assert one("") == Request(workflow="w", prompt="p") == one("seed:\nloras: ~\ncount: null\ntags:")
    assert one("").to_json() == {"workflow": "w", "prompt": "p"}


def test_json_is_a_request_file_too() -> None:
    """The same keys in JSON, escapes included."""
    text = json.dumps({"workflow": "w", "prompt": "a dancer 🌄", "seed": 2**64 - 1, "loras": ["a:0.5"]})
    [request] = parse_requests(text.encode(), file="x.json")
    assert ("a dancer 🌄", 2**64 - 1, (Lora(name="a", strength=0.5),)) == (request.prompt, request.seed, request.loras)


def test_several_documents_are_several_requests() -> None:
    """A line `---` separates requests."""
    found = parse_requests(b"workflow: w\nprompt: a\n---\nworkflow: w\nprompt: b\n", file="x")
    assert [request.prompt for request in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: -1", {"seed": None}),
        ("seed: 0", {"seed": 0}),
        ("cfg: 1e1", {"cfg": 10.0}),
        ("timeout: 90", {"timeout": 90.0}),
        ("timeout: 90s", {"timeout": 90.0}),
        ("timeout: 1.5 m", {"timeout": 90.0}),
        ("timeout: 2h", {"timeout": 7200.0}),
        ("not_before: 2026-05-01", {"not_before": datetime(2026, 5, 1, tzinfo=UTC)}),
        ("not_before: 2026-05-01 20:00", {"not_before": datetime(2026, 5, 1, 20, tzinfo=UTC)}),
        ("not_before: 2026-05-01T20:00:00Z", {"not_before": datetime(2026, 5, 1, 20, tzinfo=UTC)}),
        ("not_before: 2026-05-01T20:00:00-05:30", {"not_before": datetime(2026, 5, 2, 1, 30, tzinfo=UTC)}),
        ('negative_prompt: "a\\r\\nb\\tc"', {"negative_prompt": "a\nb\tc"}),
        ("output: Straße bei Nacht.png", {"output": "Straße bei Nacht.png"}),
        ("output: console", {"output": "console"}),
        ("project: yes", {"project": "yes"}),
        ("tags: [on, off]", {"tags": ("on", "off")}),
    ],
)
def test_a_key_is_read_as_a_person_means_it(text: str, expected: dict[str, object]) -> None:
    """Spellings that are meant for people become plain values."""
    assert one(text) == Request(workflow="w", prompt="p", **expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "name", "strength"),
    [
        ("a.safetensors:0.8", "a.safetensors", 0.8),
        ("a.safetensors: 0.8", "a.safetensors", 0.8),
        ("a.safetensors:-1", "a.safetensors", -1.0),
        ("a:1e-1", "a", 0.1),
        ("a.safetensors", "a.safetensors", 1.0),
        ("a:b", "a:b", 1.0),
        ("a:b:.5", "a:b", 0.5),
        ("a:", "a:", 1.0),
        ("a:0.8:", "a:0.8:", 1.0),
        ("C:\\loras\\a.safetensors", "C:\\loras\\a.safetensors", 1.0),
        ("C:\\loras\\a.safetensors:0.3", "C:\\loras\\a.safetensors", 0.3),
        ("styles/a..b.safetensors:2", "styles/a..b.safetensors", 2.0),
    ],
)
def test_a_lora_in_short(text: str, name: str, strength: float) -> None:
    """What follows the last colon is the strength if it is a number; otherwise the whole text is the name."""
    assert parse_lora(text) == Lora(name=name, strength=strength)


@pytest.mark.parametrize(
    "value", ["a:nan", "a:.inf", "a:1e999", "a:101", ":0.5", "", "../a:1", "x\\..\\a", "a\0:1", 5, None, ["a"], {}]
)
def test_a_lora_that_cannot_be_is_refused(value: object) -> None:
    """Names that climb, control characters, and strengths out of range are refused in words."""
    with pytest.raises(InvalidInput) as caught:
        parse_lora(value)
    assert all(problem.message.endswith(".") for problem in caught.value.problems)


def test_the_same_lora_twice_is_allowed() -> None:
    """A list of LoRAs is a chain, not a set."""
    assert one("loras: [a:0.5, a:0.5]").loras == (Lora(name="a", strength=0.5),) * 2


@few
@given(loras)
def test_a_lora_survives_its_spelling(lora: Lora) -> None:
    """Short or long, what is written for a LoRA reads back equal."""
    assert lora == parse_lora(lora_text(lora))


@few
@given(requests())
def test_a_request_survives_json(request: Request) -> None:
    """to_json and from_json are inverse, through real JSON text."""
    assert request == Request.from_json(json.loads(json.dumps(request.to_json(), allow_nan=False)))


@few
@given(requests())
def test_a_request_survives_a_file(request: Request) -> None:
    """The file that request_yaml writes says exactly the same request."""
    assert (request,) == parse_requests(request_yaml(request).encode(), file="x.yaml")


@few
@given(requests())
def test_whatever_parses_expands(request: Request) -> None:
    """A valid request never fails later, when its jobs are made."""
    assert len(expand(request)) == request.count * len(request.matrix.get("cfg", [0])) * len(
        request.matrix.get("prompt", [0])
    )


def test_the_written_file_is_pleasant_to_read() -> None:
    """LoRAs are written in short, prompts of several lines as blocks, defaults not at all."""
    request = Request(
        workflow="w",
        prompt="a robot\nin a garden\n",
        loras=(Lora(name="a", strength=0.5),),
        resize=(64, 32),
        input_image="x.png",
    )
    expected = "workflow: w\nprompt: |\n  a robot\n  in a garden\nloras:\n- a:0.5\ninput_image: x.png\nresize: 64x32\n"
    assert request_yaml(request) == expected


def test_a_request_is_frozen_and_checks_itself() -> None:
    """A request cannot change, and cannot be built wrong in Python either."""
    with pytest.raises(ValidationError):
        Request(workflow="w", prompt="p", steps=0)
    with pytest.raises(ValidationError):
        one("").steps = 5  # type: ignore[misc]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_valid(path: Path) -> None:
    """Every commented example of the inbox is a request file that could be run as it is."""
    assert all(expand(request) for request in parse_requests(path.read_bytes(), file=path.name))


def test_there_are_examples() -> None:
    """The examples show an image, an image to image, a video, and a comparison."""
    assert [path.name.split(".")[0] for path in EXAMPLES] == ["comparison", "img2img", "landscape", "video"]
