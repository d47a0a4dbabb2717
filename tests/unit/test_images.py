"""Images: what comes out is what went in, turned, cut and scaled as promised; and nothing broken passes for whole."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from comfygen.errors import OutputMissing
from comfygen.images import (
    ImageFacts,
    ImageUnusable,
    Picture,
    animated_png,
    animated_webp,
    check_image,
    decode,
    png_bytes,
    prepare_input,
    scale,
    text_chunks,
    thumbnail,
)

CALM = settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
RED, GREEN, BLUE, WHITE, BLACK = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff", b"\xff\xff\xff", b"\0\0\0"


def noise(width: int, height: int, salt: int = 0) -> bytes:
    """Pixels that no encoder can shorten much, always the same."""
    state, out = salt * 7919 + 1, bytearray()
    for _ in range(width * height * 3):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        out.append(state >> 16 & 255)
    return bytes(out)


def plain(color: bytes, width: int, height: int) -> bytes:
    """A PNG of one colour."""
    return png_bytes(color * (width * height), width, height)


def saved(image: Image.Image, format_: str, **options: Any) -> bytes:
    """The image as a file of that format."""
    target = BytesIO()
    image.save(target, format_, **options)
    return target.getvalue()


def pixel(picture: Picture, x: int, y: int) -> bytes:
    """The colour of one pixel."""
    at = (y * picture.width + x) * 3
    return picture.rgb[at : at + 3]


def clip(count: int) -> list[Picture]:
    """Frames that all differ."""
    return [Picture(width=24, height=16, rgb=noise(24, 16, n)) for n in range(count)]


STILL = Image.frombytes("RGB", (24, 16), noise(24, 16))
SAMPLES = {
    "png": png_bytes(noise(24, 16), 24, 16, text={"prompt": "{}"}),
    "apng": animated_png(clip(3), 8),
    "jpeg": saved(STILL, "JPEG"),
    "progressive": saved(STILL, "JPEG", progressive=True),
    "webp": saved(STILL, "WEBP"),
    "awebp": animated_webp(clip(3), 8),
    "gif": saved(STILL, "GIF", save_all=True, append_images=[STILL.rotate(90)]),
    "bmp": saved(STILL, "BMP"),
}


@given(width=st.integers(1, 9), height=st.integers(1, 9), data=st.data())
@CALM
def test_png_keeps_every_pixel(width: int, height: int, data: st.DataObject) -> None:
    """Pixels written as PNG come back as they were."""
    rgb = data.draw(st.binary(min_size=width * height * 3, max_size=width * height * 3))
    assert decode(png_bytes(rgb, width, height)) == Picture(width=width, height=height, rgb=rgb)


def test_picture_of_the_wrong_size_is_refused() -> None:
    """Pixels that do not fill the size are no picture."""
    with pytest.raises(ImageUnusable, match="2x2 pixels need 12 bytes, not 3"):
        png_bytes(RED, 2, 2)


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (3, 1)), (6, (1, 0)), (8, (0, 3))])
def test_exif_turns_the_picture_upright(orientation: int, corner: tuple[int, int]) -> None:
    """A camera's orientation is applied: the stored first pixel lands where a viewer shows it."""
    image = Image.new("RGB", (4, 2), "blue")
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(saved(image, "PNG", exif=exif))
    assert pixel(picture, *corner) == RED


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    """Where an image is transparent, white shows, whatever colour hides there."""
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0)).convert(mode)
    options = {"transparency": 0} if mode == "P" else {}
    assert pixel(decode(saved(image, "PNG", **options)), 0, 0) == WHITE


def test_sixteen_bits_of_grey_become_eight() -> None:
    """A 16-bit grey value keeps its brightness instead of being clipped to white."""
    image = Image.new("I;16", (1, 1), 0x8000)
    assert decode(saved(image, "PNG")).rgb == b"\x80\x80\x80"


@pytest.mark.parametrize("size", [(50_000, 50_000), (11_000, 11_000)])
def test_decompression_bomb_is_refused_unopened(size: tuple[int, int]) -> None:
    """A header that promises too many pixels is refused, with what to do, before any is decoded."""
    header = struct.pack(">II5B", *size, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(ImageUnusable) as caught:
        decode(bomb + b"\0\0\0\0IDAT5\xaf\x06\x1e")
    assert caught.value.hint == "Scale it down first."


def test_pixel_cap_can_be_lowered() -> None:
    """The cap is a parameter."""
    with pytest.raises(ImageUnusable, match="2x2 has 4 pixels, at most 3"):
        decode(plain(RED, 2, 2), max_pixels=3)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"])
def test_what_is_no_image_says_so(content: bytes) -> None:
    """Bytes that are no image are refused, by our own error."""
    with pytest.raises(ImageUnusable):
        decode(content)


def test_scale_is_smooth() -> None:
    """Halving black and white stripes gives grey, not one of the two."""
    stripes = Picture(width=4, height=1, rgb=(BLACK + WHITE) * 2)
    assert all(60 < value < 200 for value in scale(stripes, 2, 1).rgb)


def test_scale_to_the_same_size_changes_nothing() -> None:
    """A picture of the right size is left alone."""
    picture = Picture(width=1, height=1, rgb=RED)
    assert scale(picture, 1, 1) is picture


def banner() -> bytes:
    """30x10: a red, a green and a blue square in a row."""
    return png_bytes((RED * 10 + GREEN * 10 + BLUE * 10) * 10, 30, 10)


@pytest.mark.parametrize(
    ("crop", "size", "colors"),
    [
        ("cover", (20, 20), (GREEN, GREEN, GREEN)),
        (None, (20, 20), (GREEN, GREEN, GREEN)),
        ("contain", (30, 30), (BLACK, GREEN, BLACK)),
        ("center", (10, 30), (BLACK, GREEN, BLACK)),
    ],
)
def test_crop_fits_as_asked(crop: str | None, size: tuple[int, int], colors: tuple[bytes, ...]) -> None:
    """Cover fills and cuts, contain fits and pads, center cuts and pads without scaling; the middle stays."""
    content, width, height = prepare_input(banner(), resize=size, crop=crop)
    picture = decode(content)
    middle = [pixel(picture, width // 2, y) for y in (1, height // 2, height - 2)]
    assert ((width, height), tuple(middle)) == (size, colors)


def test_input_without_resize_keeps_its_size() -> None:
    """An image that nobody asked to resize is only rewritten as PNG."""
    content, width, height = prepare_input(saved(STILL, "BMP"), resize=None, crop=None)
    assert (decode(content).rgb, width, height) == (STILL.tobytes(), 24, 16)


def test_same_input_gives_the_same_bytes() -> None:
    """A retry uploads the very same file."""
    first = prepare_input(SAMPLES["jpeg"], resize=(8, 8), crop="cover")
    assert prepare_input(SAMPLES["jpeg"], resize=(8, 8), crop="cover") == first


@pytest.mark.parametrize(
    ("resize", "crop"), [((8, 8), "stretch"), (None, "cover"), ((0, 8), None), ((99_999, 9_999), None)]
)
def test_impossible_inputs_are_refused(resize: tuple[int, int] | None, crop: str | None) -> None:
    """A crop that does not exist or has no size, and sizes that cannot be, are errors of ours."""
    with pytest.raises(ImageUnusable):
        prepare_input(banner(), resize=resize, crop=crop)


@pytest.mark.parametrize(
    ("name", "format_", "media_type", "frames"),
    [
        ("png", "png", "image/png", 1),
        ("apng", "png", "image/png", 3),
        ("jpeg", "jpeg", "image/jpeg", 1),
        ("webp", "webp", "image/webp", 1),
        ("awebp", "webp", "image/webp", 3),
        ("gif", "gif", "image/gif", 2),
        ("bmp", "bmp", "image/bmp", 1),
    ],
)
def test_check_tells_what_an_image_is(name: str, format_: str, media_type: str, frames: int) -> None:
    """A whole image is told by its content: format, media type, size, frames."""
    expected = ImageFacts(format=format_, media_type=media_type, width=24, height=16, frames=frames)
    assert check_image(SAMPLES[name]) == expected


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_cut_off_images_are_found_out(name: str) -> None:
    """An image that lacks its end is never taken for whole, however little is missing."""
    content = SAMPLES[name]
    cuts = {*range(0, len(content), max(1, len(content) // 25)), len(content) - 1, len(content) - 5}
    for cut in cuts:
        with pytest.raises(OutputMissing):
            check_image(content[:cut])


def test_a_flipped_bit_in_a_png_is_found_out() -> None:
    """PNG checksums are read: a damaged output is not stored."""
    broken = bytearray(SAMPLES["png"])
    broken[len(broken) // 2] ^= 1
    with pytest.raises(OutputMissing, match="An output is no whole image"):
        check_image(bytes(broken))


@given(name=st.sampled_from(sorted(SAMPLES)), edits=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255))))
@settings(CALM, max_examples=300)
def test_broken_images_raise_nothing_of_pillows(name: str, edits: list[tuple[int, int]]) -> None:
    """Whatever the bytes, readers give a result or an error of ours; no foreign exception, no warning."""
    broken = bytearray(SAMPLES[name])
    for at, value in edits:
        broken[at % len(broken)] = value
    for read in (check_image, decode, thumbnail, text_chunks):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read(bytes(broken))
            except (ImageUnusable, OutputMissing) as error:
                assert str(error)


@pytest.mark.parametrize(("size", "expected"), [((1000, 500), (256, 128)), ((40, 20), (40, 20))])
def test_thumbnail_is_small_webp(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """A thumbnail is WebP, keeps the proportions and never grows."""
    facts = check_image(thumbnail(plain(RED, *size)))
    assert (facts.format, (facts.width, facts.height)) == ("webp", expected)


def test_thumbnail_of_a_photo_is_turned_upright() -> None:
    """The reduced decoding of JPEG keeps what EXIF says."""
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = check_image(thumbnail(saved(Image.new("RGB", (800, 400)), "JPEG", exif=exif)))
    assert (facts.width, facts.height) == (128, 256)


def test_animation_carries_the_prompt_as_comfyui_does() -> None:
    """An animated WebP has `prompt:…` in the EXIF tag that ComfyUI uses."""
    with Image.open(BytesIO(animated_webp(clip(2), 8, text={"prompt": "{}"}))) as image:
        assert image.getexif()[0x0110] == "prompt:{}"


@pytest.mark.parametrize(("frames", "fps"), [(0, 8.0), (2, 0.0), (2, float("nan"))])
def test_impossible_animations_are_refused(frames: int, fps: float) -> None:
    """No frames, or no speed, is no animation."""
    with pytest.raises(ImageUnusable):
        animated_png(clip(frames), fps)
