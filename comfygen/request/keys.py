"""The keys of a request file: what each means and what it may hold, said once for messages, schema and docs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from comfygen.documents import Path
from comfygen.request.mistakes import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key: its meaning, what is allowed, and an example of a value."""

    meaning: str
    allowed: str
    example: object


TEXT: Final = "a text without control characters"
SIDE: Final = "a whole number of pixels from 16 to 16384"
NAME: Final = "a text of one line with at most 128 characters"
STRENGTH: Final = "a number from -100 to 100"
LORA: Final = "name:strength, or a mapping with name, strength, strength_clip, branch"

LORA_KEYS: Final[Mapping[str, Key]] = {
    "name": Key(
        meaning="File name of the LoRA, as ComfyUI lists it.",
        allowed="a LoRA file name",
        example="watercolor_style.safetensors",
    ),
    "strength": Key(meaning="How strongly it works on the model; 1 if left out.", allowed=STRENGTH, example=0.8),
    "strength_clip": Key(
        meaning="How strongly it works on the text encoder; as strength if left out.", allowed=STRENGTH, example=0.6
    ),
    "branch": Key(
        meaning="One model branch of a workflow that has several; every branch if left out.",
        allowed='"high", "low", or the id of a loader node',
        example="high",
    ),
}

KEYS: Final[Mapping[str, Key]] = {
    "workflow": Key(
        meaning="The workflow to run: a file of the workflows folder.",
        allowed="a file name without a folder, with or without .json",
        example="flux-dev.json",
    ),
    "prompt": Key(meaning="What to generate.", allowed=TEXT + ", not empty", example="a mountain landscape at sunset"),
    "negative_prompt": Key(meaning="What to avoid.", allowed=TEXT, example="blurry, low quality"),
    "preset": Key(
        meaning="Sampler settings by name, from presets.yaml.", allowed="the name of a preset", example="draft"
    ),
    "seed": Key(
        meaning="The random seed; left out or -1 for a random one.",
        allowed="a whole number from 0 to 18446744073709551615, or -1 for a random one",
        example=42,
    ),
    "steps": Key(meaning="Sampling steps.", allowed="a whole number from 1 to 10000", example=20),
    "cfg": Key(meaning="How closely to follow the prompt.", allowed="a number from 0 to 100", example=7.5),
    "sampler": Key(meaning="The sampler, as ComfyUI names it.", allowed="the name of a sampler", example="euler"),
    "scheduler": Key(
        meaning="The scheduler, as ComfyUI names it.", allowed="the name of a scheduler", example="karras"
    ),
    "width": Key(meaning="Width of the output.", allowed=SIDE, example=768),
    "height": Key(meaning="Height of the output.", allowed=SIDE, example=512),
    "denoise": Key(
        meaning="How much of an input image to change: 0 nothing, 1 everything.",
        allowed="a number from 0 to 1",
        example=0.7,
    ),
    "frames": Key(meaning="Length of a video in frames.", allowed="a whole number from 1 to 100000", example=81),
    "fps": Key(meaning="Frames per second of a video.", allowed="a number above 0, up to 240", example=16),
    "loras": Key(
        meaning="LoRAs to chain after those of the workflow, in this order.",
        allowed=f"a list of at most 100 entries, each {LORA}",
        example=["watercolor_style.safetensors:0.8"],
    ),
    "lora_preset": Key(
        meaning="A set of LoRAs by name, from presets.yaml.",
        allowed="the name of a LoRA preset",
        example="text_to_video",
    ),
    "input_image": Key(
        meaning="The image to start from.", allowed="a text of one line with at most 1024 characters", example="car.png"
    ),
    "resize": Key(
        meaning="Size to bring the input image to.",
        allowed="WIDTHxHEIGHT, each side from 16 to 16384 pixels",
        example="1024x768",
    ),
    "crop": Key(
        meaning="How to resize when the proportions differ.", allowed="center, cover or contain", example="cover"
    ),
    "count": Key(
        meaning="How many to make; a given seed counts up from one to the next.",
        allowed="a whole number from 1 to 1000",
        example=4,
    ),
    "matrix": Key(
        meaning="Lists of values for other keys; every combination becomes a job and overrides the key itself.",
        allowed="a mapping of keys to lists of values",
        example={"cfg": [5, 7.5], "sampler": ["euler", "dpmpp_2m"]},
    ),
    "validate": Key(meaning="Score the image against its prompt.", allowed="true or false", example=True),
    "metadata": Key(meaning="Store a sidecar beside each output.", allowed="true or false", example=False),
    "output": Key(
        meaning="Name for the output; the extension follows the format.",
        allowed="a file name without a folder, not starting with a dot",
        example="sunset.png",
    ),
    "tags": Key(
        meaning="Words to find it by.", allowed="a list of at most 100 short texts", example=["landscape", "warm"]
    ),
    "project": Key(meaning="The project it belongs to.", allowed=NAME, example="calendar"),
    "id": Key(
        meaning="Your own name for the request: one that was taken before is not run again.",
        allowed=NAME,
        example="calendar-may",
    ),
    "priority": Key(
        meaning="Higher runs earlier; 0 if left out.", allowed="a whole number from -1000 to 1000", example=10
    ),
    "not_before": Key(
        meaning="The earliest time to run; UTC unless it names an offset.",
        allowed="a date and time such as 2026-05-01T20:00:00Z",
        example="2026-05-01T20:00:00Z",
    ),
    "timeout": Key(
        meaning="How long one job may run.",
        allowed="seconds as a number, or a text such as 90s, 10m or 2h; at most 7 days",
        example="10m",
    ),
}

MATRIX_KEYS: Final = tuple(KEYS)[: tuple(KEYS).index("crop") + 1]

# What other tools call these keys.
_MEANT: Final = {
    "negative": "negative_prompt",
    "lora": "loras",
    "cfg_scale": "cfg",
    "guidance": "cfg",
    "guidance_scale": "cfg",
    "sampler_name": "sampler",
    "num_inference_steps": "steps",
    "num_frames": "frames",
    "length": "frames",
    "frame_rate": "fps",
    "image": "input_image",
    "init_image": "input_image",
    "strength": "denoise",
    "batch": "count",
    "batch_size": "count",
    "repeat": "count",
    "filename": "output",
    "name": "output",
    "grid": "matrix",
    "size": "width",
    "text": "prompt",
    "validate_image": "validate",
    "request_id": "id",
}

LORA_PLACES: Final = {"loras[]": LORA} | {f"loras[].{name}": key.allowed for name, key in LORA_KEYS.items()}
LORA_WORDS: Final = Vocabulary({name: key.allowed for name, key in LORA_KEYS.items()})
REQUEST: Final = Vocabulary({name: key.allowed for name, key in KEYS.items()} | LORA_PLACES, _MEANT)
MATRIX: Final = Vocabulary({name: KEYS[name].allowed for name in MATRIX_KEYS} | LORA_PLACES, _MEANT)


def allowed_at(path: Path) -> str | None:
    """What may stand at a place of a request file."""
    return MATRIX.at((path[1], *path[3:])) if path[:1] == ("matrix",) and len(path) > 2 else REQUEST.at(path)
