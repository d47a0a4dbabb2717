"""Painting: a landscape as RGB bytes, whose light, weather and hills all come from one digest.

Pictures are painted column by column: a column is a slice of the sky with slices of hills laid over it, so that no
pixel is ever computed alone. The same digest and size always give the same bytes.
"""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from comfygen.images import Picture, scale

Colour = tuple[int, int, int]
LARGEST = 768  # pixels; anything larger is painted at that size and scaled
HILLS = 5
PAN = 0.25  # of the width: how far the camera of a video travels


@dataclass(frozen=True, kw_only=True)
class Light:
    """The palette of one landscape: the sky from zenith to horizon, the sun, and the nearest hill."""

    zenith: Colour
    horizon: Colour
    glow: Colour
    near: Colour
    night: bool = False


# Each colour as hue, saturation, value: dawn, morning, noon, sunset, dusk, desert, mist, autumn, two kinds of night.
LIGHTS = (
    ((0.62, 0.45, 0.72), (0.06, 0.42, 1.0), (0.12, 0.25, 1.0), (0.70, 0.50, 0.22)),
    ((0.57, 0.42, 0.88), (0.13, 0.14, 0.98), (0.14, 0.12, 1.0), (0.40, 0.55, 0.25)),
    ((0.58, 0.62, 0.85), (0.54, 0.16, 0.97), (0.15, 0.10, 1.0), (0.36, 0.60, 0.22)),
    ((0.74, 0.52, 0.52), (0.04, 0.62, 1.0), (0.10, 0.40, 1.0), (0.90, 0.55, 0.20)),
    ((0.66, 0.60, 0.38), (0.94, 0.36, 0.86), (0.08, 0.22, 1.0), (0.68, 0.60, 0.16)),
    ((0.55, 0.35, 0.80), (0.09, 0.40, 0.98), (0.11, 0.30, 1.0), (0.05, 0.62, 0.32)),
    ((0.55, 0.18, 0.72), (0.52, 0.07, 0.93), (0.13, 0.06, 1.0), (0.50, 0.40, 0.28)),
    ((0.59, 0.30, 0.76), (0.12, 0.32, 0.97), (0.13, 0.24, 1.0), (0.03, 0.68, 0.30)),
    ((0.65, 0.74, 0.16), (0.62, 0.56, 0.42), (0.60, 0.05, 0.98), (0.66, 0.62, 0.07)),
    ((0.62, 0.78, 0.14), (0.45, 0.55, 0.40), (0.45, 0.06, 0.98), (0.52, 0.66, 0.07)),
)
NIGHTS = LIGHTS[8:]


def landscape(digest: str, width: int, height: int) -> Picture:
    """The landscape of a digest (hex), `width` x `height`."""
    factor = min(1.0, LARGEST / max(width, height))
    small = _painted(digest, max(1, round(width * factor)), max(1, round(height * factor)))
    return scale(small, width, height)


def flat(colour: int, width: int, height: int) -> Picture:
    """One colour, 0xRRGGBB, as EmptyImage makes it."""
    return Picture(width=width, height=height, rgb=colour.to_bytes(3, "big") * (width * height))


def blend(below: Picture, above: Picture, weight: float) -> Picture:
    """`above` laid over `below` (scaled to the same size) with a weight of 0..1, in eighths."""
    base = scale(below, above.width, above.height)
    first, second, eighths = base.rgb, above.rgb, round(max(0.0, min(1.0, weight)) * 8)
    if eighths in (0, 8):
        return above if eighths else base
    mixed = int.from_bytes(first, "big")
    for bit in (1, 2, 4):  # halving again and again: what comes last counts most
        mixed = _mean(mixed, int.from_bytes(second if eighths & bit else first, "big"), len(first))
    return Picture(width=above.width, height=above.height, rgb=mixed.to_bytes(len(first), "big"))


def pan(panorama: Picture, width: int, frames: int) -> Iterator[bytes]:
    """`frames` views of `width` pixels that travel over the panorama, as RGB bytes."""
    stride, row = panorama.width * 3, width * 3
    for frame in range(frames):
        offset = (panorama.width - width) * frame // max(1, frames - 1) * 3
        yield b"".join(panorama.rgb[at + offset : at + offset + row] for at in range(0, len(panorama.rgb), stride))


def _mean(first: int, second: int, length: int) -> int:
    """The mean of two byte strings, byte by byte, in one piece of integer arithmetic."""
    mask = _mask(length)
    return (first & second) + (((first ^ second) & mask) >> 1)


@lru_cache(maxsize=4)
def _mask(length: int) -> int:
    return int.from_bytes(b"\xfe" * length, "big")


def _painted(digest: str, width: int, height: int) -> Picture:
    dice = random.Random(digest)
    light = _light(dice)
    planes = [bytearray() for _ in range(3)]
    columns = _columns(dice, light, width, height)
    for column in columns:
        for plane, channel in zip(planes, column, strict=True):
            plane += channel
    rgb = bytearray(width * height * 3)
    for offset, plane in enumerate(planes):
        rgb[offset::3] = b"".join(plane[y::height] for y in range(height))
    return Picture(width=width, height=height, rgb=bytes(rgb))


def _light(dice: random.Random) -> Light:
    chosen, turn = dice.choice(LIGHTS), dice.uniform(-0.045, 0.045)
    zenith, horizon, glow, near = (_colour(hue + turn, saturation, value) for hue, saturation, value in chosen)
    return Light(zenith=zenith, horizon=horizon, glow=glow, near=near, night=chosen in NIGHTS)


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _mixed(first: Colour, second: Colour, weight: float) -> Colour:
    red, green, blue = (round(a + (b - a) * weight) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _gradient(top: Colour, bottom: Colour, height: int) -> list[bytes]:
    """One column from `top` to `bottom`: its red, green and blue bytes."""
    steps = [_mixed(top, bottom, y / max(1, height - 1)) for y in range(height)]
    return [bytes(step[channel] for step in steps) for channel in range(3)]


def _columns(dice: random.Random, light: Light, width: int, height: int) -> Iterator[list[bytearray]]:
    """The columns of the picture from left to right: sky, sun or moon, then the hills from far to near."""
    sky = _gradient(light.zenith, light.horizon, height)
    discs = _discs(dice, light, sky, (width, height))
    hills = [_hill(dice, light, depth, (width, height)) for depth in range(1, HILLS + 1)]
    if dice.random() < 0.5:
        hills[3:3] = [_lake(dice, light, (width, height))]
    stars = {dice.randrange(width): dice.randrange(height) for _ in range(width // 6)} if light.night else {}
    for x in range(width):
        column = [bytearray(channel) for channel in sky]
        if x in stars:
            _fill(column, stars[x], stars[x] + 1, [b"\xff" * height] * 3)
        for centre_x, centre_y, radius, channels in discs:
            if (reach := radius * radius - (x - centre_x) ** 2) > 0:
                half = int(math.sqrt(reach))
                _fill(column, max(0, centre_y - half), min(height, centre_y + half), channels)
        for skyline, channels in hills:
            _fill(column, skyline[x], height, channels)
        yield column


def _fill(column: list[bytearray], start: int, stop: int, source: list[bytes]) -> None:
    for channel, colours in zip(column, source, strict=True):
        channel[start:stop] = colours[start:stop]


def _discs(
    dice: random.Random, light: Light, sky: list[bytes], size: tuple[int, int]
) -> list[tuple[int, int, int, list[bytes]]]:
    """Sun or moon with its halo: rings from wide and faint to small and bright, each a lighter sky."""
    width, height = size
    centre_x, centre_y = round(width * dice.uniform(0.12, 0.88)), round(height * dice.uniform(0.12, 0.5))
    radius = min(size) * dice.uniform(0.05, 0.11)
    rings = []
    for spread, strength in ((4.2, 0.12), (3.0, 0.22), (2.1, 0.36), (1.5, 0.55), (1.0, 1.0)):
        steps = [_mixed((r, g, b), light.glow, strength) for r, g, b in zip(*sky, strict=True)]
        channels = [bytes(step[channel] for step in steps) for channel in range(3)]
        rings.append((centre_x, centre_y, round(radius * spread), channels))
    return rings


def _lake(dice: random.Random, light: Light, size: tuple[int, int]) -> tuple[list[int], list[bytes]]:
    """Still water before the far hills: the sky upside down, with ripples that catch the light."""
    width, height = size
    shore = round(height * dice.uniform(0.66, 0.74))
    water = [_mixed(light.horizon, light.zenith, y / max(1, height - shore)) for y in range(height - shore)]
    dark = [_mixed(colour, light.near, 0.25) for colour in water]
    striped = [_mixed(c, light.glow, 0.2 if y % 5 < 2 and dice.random() < 0.7 else 0) for y, c in enumerate(dark)]
    channels = [bytes(shore) + bytes(step[channel] for step in striped) for channel in range(3)]
    return [shore] * width, channels


def _hill(dice: random.Random, light: Light, depth: int, size: tuple[int, int]) -> tuple[list[int], list[bytes]]:
    """One range of hills: its skyline per column, and its colours; the nearer, the darker and the rougher."""
    width, height = size
    nearness = depth / HILLS
    level = 0.42 + 0.5 * nearness * dice.uniform(0.85, 1.0)
    waves = [(dice.uniform(0.6, 3) * 2**n, dice.uniform(0, math.tau), 0.075 / 1.7**n) for n in range(4)]
    skyline = []
    for x in range(width):
        place = x / width * math.tau
        rise = sum(size_ * math.sin(place * rate + phase) for rate, phase, size_ in waves)
        skyline.append(max(0, min(height, round((level + rise * (0.6 + 0.4 * nearness)) * height))))
    top = _mixed(light.horizon, light.near, 0.25 + 0.65 * nearness)
    return skyline, _gradient(_mixed(top, light.horizon, 0.15), _mixed(top, light.near, 0.4), height)
