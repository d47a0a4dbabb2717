"""The landscapes of the simulator: real pictures that follow from a digest, quickly."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfygen.images import Picture
from comfygen.simulator.painting import LIGHTS, blend, flat, landscape, pan

sizes = st.integers(8, 80)


@settings(max_examples=20, deadline=None)
@given(digest=st.text("0123456789abcdef", min_size=1, max_size=64), width=sizes, height=sizes)
def test_same_digest_and_size_paint_the_same_picture(digest: str, width: int, height: int) -> None:
    """Every size is met exactly, and painting again changes no pixel."""
    picture = landscape(digest, width, height)
    assert (picture.width, picture.height) == (width, height)
    assert picture == landscape(digest, width, height)


def test_other_digests_paint_other_pictures() -> None:
    """Of forty digests no two look alike."""
    assert len({landscape(f"{number:064x}", 48, 48).rgb for number in range(40)}) == 40


def test_picture_is_a_landscape_and_not_one_colour() -> None:
    """The sky is not the ground, and there are many colours in between."""
    rgb = landscape("ab", 96, 96).rgb
    assert rgb[:3] != rgb[-3:]
    assert len({rgb[at : at + 3] for at in range(0, len(rgb), 3)}) > 50


def test_all_lights_are_used() -> None:
    """Dawn, noon, night and all the others turn up: the sky of many pictures takes many colours."""
    skies = {landscape(f"{number:x}", 16, 16).rgb[:3] for number in range(60)}
    assert len(skies) > 2 * len(LIGHTS)


def test_large_picture_is_painted_smaller_and_scaled() -> None:
    """A picture above the largest canvas still has its size."""
    picture = landscape("ab", 1600, 200)
    assert (picture.width, picture.height) == (1600, 200)


def test_flat_picture_has_the_colour_of_its_number() -> None:
    """0xRRGGBB, as EmptyImage takes it."""
    assert flat(0x0102FF, 2, 1).rgb == bytes([1, 2, 255, 1, 2, 255])


@pytest.mark.parametrize("eighths", range(9))
def test_blend_weighs_in_eighths(eighths: int) -> None:
    """Black under white gives the grey of the weight, within the rounding of three halvings."""
    mixed = blend(flat(0, 4, 4), flat(0xFFFFFF, 4, 4), eighths / 8)
    assert set(mixed.rgb) == {mixed.rgb[0]}
    assert abs(mixed.rgb[0] - eighths * 255 / 8) <= 1


def test_blend_scales_what_is_below() -> None:
    """The result has the size of the upper picture, whatever is below."""
    mixed = blend(landscape("a", 30, 20), flat(0, 64, 64), 0.5)
    assert (mixed.width, mixed.height) == (64, 64)


def test_pan_travels_from_one_edge_to_the_other() -> None:
    """The first view is the left of the panorama, the last one its right."""
    panorama = Picture(width=4, height=1, rgb=bytes(range(12)))
    assert list(pan(panorama, 2, 3)) == [bytes(range(6)), bytes(range(3, 9)), bytes(range(6, 12))]


def test_pan_of_one_frame_stands_still() -> None:
    """A single frame is the left of the panorama."""
    assert list(pan(Picture(width=4, height=1, rgb=bytes(range(12))), 2, 1)) == [bytes(range(6))]
