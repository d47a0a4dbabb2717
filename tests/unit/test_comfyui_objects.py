"""The node classes of a server, and how near misses are guessed."""

from __future__ import annotations

import pytest

from comfygen.comfyui_client import ObjectInfo
from comfygen.comfyui_client.objects import read_input
from comfygen.comfyui_client.wording import nearest, some
from tests.replay import recording

FILES = ["sub dir/style_c.safetensors", "style_a.safetensors", "wan\\motion.safetensors"]


@pytest.fixture(name="info")
def _info() -> ObjectInfo:
    return ObjectInfo(classes=recording("v0.28.1/01-object-info")["classes"])


@pytest.mark.parametrize(
    ("class_type", "name", "expected"),
    [
        ("SaveVideo", "codec", ("auto", "h264")),
        ("UNETLoader", "weight_dtype", ("default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2")),
        ("CLIPLoader", "device", ("default", "cpu")),
        ("LoadImage", "image", None),
        ("KSampler", "steps", None),
        ("KSampler", "nothing", None),
        ("Nothing", "image", None),
    ],
)
def test_choices_come_in_both_shapes(
    info: ObjectInfo, class_type: str, name: str, expected: tuple[str, ...] | None
) -> None:
    """Old and new lists of choices are read alike; uploaded files, numbers and unknown names have no choices."""
    assert info.options(class_type, name) == expected


def test_output_types_are_by_slot(info: ObjectInfo) -> None:
    """A checkpoint gives model, CLIP and VAE; an unknown class gives nothing."""
    types = [info.output_types("CheckpointLoaderSimple"), info.output_types("Nothing")]
    assert types == [("MODEL", "CLIP", "VAE"), ()]


def test_seed_bounds_are_exact(info: ObjectInfo) -> None:
    """2^64 - 1 does not become a float."""
    sampler = info.node_class("KSampler")
    assert sampler is not None
    assert sampler.inputs["seed"].maximum == 2**64 - 1


@pytest.mark.parametrize("spec", [None, [], [None], ["COMBO"], ["COMBO", {"remote": {"route": "/x"}}], [3, 4]])
def test_a_strange_description_offers_no_choices(spec: object) -> None:
    """What cannot be understood is not checked."""
    assert read_input("Some", "name", spec).options is None


@pytest.mark.parametrize("extra", [{"image_upload": True}, {"video_upload": True}, {"remote": {"route": "/x"}}])
def test_uploads_are_not_choices(extra: dict[str, object]) -> None:
    """The list of uploads need not show what was uploaded since."""
    assert read_input("Some", "name", [["a.png"], extra]).options is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("sub dir\\style_c.safetensors", "sub dir/style_c.safetensors"),
        ("wan/motion.safetensors", "wan\\motion.safetensors"),
        ("style_c.safetensors", "sub dir/style_c.safetensors"),
        ("Style_A", "style_a.safetensors"),
        ("styl_a.safetensors", "style_a.safetensors"),
        ("waterfall", None),
    ],
)
def test_the_near_miss_is_found(value: str, expected: str | None) -> None:
    """Other separators, another folder, no ending, a slip of the pen; and nothing where nothing is near."""
    assert nearest(value, FILES) == expected


def test_long_lists_are_shortened() -> None:
    """The first few choices and how many there are."""
    assert some([str(n) for n in range(9)]) == "0, 1, 2, 3, 4, 5, … (9 in all)"
