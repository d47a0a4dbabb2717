"""Presets: the file that ships, and files of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfygen.errors import NotFound, PresetsInvalid
from comfygen.lora import Lora
from comfygen.presets import LoraPreset, Preset, Presets, parse_presets

SHIPPED = Path(__file__).parents[2] / "presets.yaml"


@pytest.fixture(scope="module")
def shipped() -> Presets:
    """The presets of presets.yaml."""
    return parse_presets(SHIPPED.read_bytes(), file="presets.yaml")


@pytest.mark.parametrize(
    ("name", "steps", "cfg", "sampler", "scheduler"),
    [
        ("draft", 10, 5.0, "euler", "normal"),
        ("balanced", 20, 7.0, "euler_ancestral", "normal"),
        ("high-quality", 50, 7.5, "dpmpp_2m_sde", "karras"),
        ("fast", 15, 7.0, "dpmpp_2m", "normal"),
        ("ultra", 100, 8.0, "dpmpp_2m_sde", "karras"),
    ],
)
def test_the_five_presets(shipped: Presets, name: str, steps: int, cfg: float, sampler: str, scheduler: str) -> None:
    """The presets that everybody knows have exactly these settings, and leave the size to the workflow."""
    preset = shipped.preset(name)
    assert (steps, cfg, sampler, scheduler) == (preset.steps, preset.cfg, preset.sampler, preset.scheduler)
    assert (None, None, name) == (preset.width, preset.height, preset.name)
    assert preset.description


def test_the_shipped_names(shipped: Presets) -> None:
    """There are five presets and three LoRA presets, each described."""
    assert list(shipped.presets) == ["draft", "balanced", "high-quality", "fast", "ultra"]
    assert list(shipped.lora_presets) == ["text_to_video", "image_to_video", "simple_image"]
    assert all(preset.description for preset in shipped.lora_presets.values())


def test_a_lora_preset_in_short_spelling_resolves(shipped: Presets) -> None:
    """`file:0.8` in a preset is a name and a strength, not a file of that name."""
    expected = (
        Lora(name="motion_wan.safetensors", strength=0.8),
        Lora(name="camera_pan_wan.safetensors", strength=0.6),
    )
    assert expected == shipped.lora_preset("text_to_video").loras


def test_a_preset_of_ones_own() -> None:
    """Every setting is optional, and a size is possible."""
    text = b"""
presets: {mine: {width: 768, height: 512, cfg: 6}, bare: {}}
lora_presets: {x: {loras: [{name: a, branch: low}, 'a:2']}}
"""
    presets = parse_presets(text, file="p")
    assert Preset(name="mine", width=768, height=512, cfg=6.0) == presets.preset("mine")
    assert Preset(name="bare") == presets.preset("bare")
    assert LoraPreset(
        name="x", loras=(Lora(name="a", branch="low"), Lora(name="a", strength=2.0))
    ) == presets.lora_preset("x")


@pytest.mark.parametrize("text", [b"", b"presets:\nlora_presets:\n", b"presets: {}"])
def test_no_presets_at_all(text: bytes) -> None:
    """A file may be empty or have empty sections."""
    assert Presets() == parse_presets(text, file="p")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Drfat", "Did you mean draft?"), ("zzz", "There are: balanced, draft, fast, high-quality, ultra.")],
)
def test_an_unknown_preset_is_named_with_what_was_meant(shipped: Presets, name: str, hint: str) -> None:
    """A name that does not exist is answered with the nearest one, or with all of them."""
    with pytest.raises(NotFound) as caught:
        shipped.preset(name)
    assert (f'There is no preset "{name}".', hint) == (caught.value.message, caught.value.hint)


def test_an_unknown_lora_preset_is_an_error() -> None:
    """Without any LoRA presets the message says so."""
    with pytest.raises(NotFound, match=r'There is no LoRA preset "x"\. There are: none\.'):
        Presets().lora_preset("x")


WRONG = b"""preset: {}
presets:
  a: {stpes: 3, name: b, steps: 0123, cfg: 200}
  b:
  "c\\e": {}
  a: {}
lora_presets:
  x: {loras: ["a:900", {nam: 3}, {b.safetensors: 0.5}]}
  y: {loras: []}
  z: {lora: [a]}
"""


def test_every_mistake_is_told_at_once() -> None:
    """Unknown keys, wrong values and doubles of the whole file are reported from top to bottom, with their lines."""
    with pytest.raises(PresetsInvalid) as caught:
        parse_presets(WRONG, file="p.yaml")
    found = [(p.line, p.field, p.message, p.hint) for p in caught.value.problems]
    assert found == [
        (1, "preset", "is no known key.", "Did you mean presets?"),
        (
            3,
            "presets.a.steps",
            "0123 has a leading zero: YAML would read it as octal.",
            "Drop the zero, or put it in quotes if it is a text.",
        ),
        (3, "presets.a.cfg", "200 is too large.", None),
        (3, "presets.a.stpes", "is no known key.", "Did you mean steps?"),
        (3, "presets.a.name", "is no known key.", None),
        (4, "presets.b", "must be a mapping (`key: value`), not nothing.", None),
        (5, 'presets."c\\x1b"', "its name has an escape sequence (U+001B) at character 2.", None),
        (6, "presets.a", "is given twice.", "Line 3 has it already: remove one of the two."),
        (8, "lora_presets.x.loras[0].strength", "900.0 is too large.", None),
        (8, "lora_presets.x.loras[1].name", "is required.", None),
        (8, "lora_presets.x.loras[1].nam", "is no known key.", "Did you mean name?"),
        (
            8,
            "lora_presets.x.loras[2]",
            '"b.safetensors" is no known key.',
            'Write "b.safetensors:0.5", without a blank.',
        ),
        (9, "lora_presets.y.loras", "has no entries.", None),
        (10, "lora_presets.z.loras", "is required.", None),
        (10, "lora_presets.z.lora", "is no known key.", "Did you mean loras?"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"- a", "must be a mapping, not a list."),
        (b"presets: [a]", "must be a mapping of names to presets, not a list."),
        (b"presets: {}\n---\npresets: {}", "a second document starts here; only one is possible."),
        (b"presets: [", "a value is missing, or a bracket is not closed."),
    ],
)
def test_a_file_of_another_shape_is_refused(text: bytes, message: str) -> None:
    """Lists, several documents and broken YAML are told apart."""
    with pytest.raises(PresetsInvalid) as caught:
        parse_presets(text, file="p.yaml")
    assert [message] == [problem.message for problem in caught.value.problems]
