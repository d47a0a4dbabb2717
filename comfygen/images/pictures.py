"""Picture: plain RGB pixels, and how they come out of a file and change their size."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from comfygen.images.opening import MAX_PIXELS, ImageUnusable, check_size, opened, translated

ORIENTATION_TAG = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """`width` x `height` pixels as rows of 8-bit R, G, B, top left first; `len(rgb) == width * height * 3`."""

    width: int
    height: int
    rgb: bytes

    def __post_init__(self) -> None:
        if len(self.rgb) != self.width * self.height * 3:
            raise ImageUnusable(
                f"{self.width}x{self.height} pixels need {self.width * self.height * 3} bytes, not {len(self.rgb)}."
            )


def decode(content: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The first frame, turned upright by its EXIF orientation, transparency laid on white. Raises ImageUnusable."""
    with opened(content, max_pixels=max_pixels) as image:
        return from_pillow(upright(image))


def scale(picture: Picture, width: int, height: int) -> Picture:
    """The picture in another size, smoothed; its proportions follow the size."""
    if (picture.width, picture.height) == (width, height):
        return picture
    check_size(width, height)
    with translated():
        return from_pillow(to_pillow(picture).resize((width, height), Image.Resampling.LANCZOS))


def thumbnail(content: bytes, *, size: int = 256) -> bytes:
    """A WebP of at most `size` x `size` pixels in the image's proportions, never larger than the image."""
    with opened(content) as image:
        image.draft("RGB", (size * 2, size * 2))  # a JPEG decodes at a fraction of its size, and so much faster
        small = upright(image)
        small.thumbnail((size, size), Image.Resampling.LANCZOS)
        target = BytesIO()
        on_white(small).save(target, "WEBP", quality=80, method=4)
        return target.getvalue()


def to_pillow(picture: Picture) -> Image.Image:
    return Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)


def from_pillow(image: Image.Image) -> Picture:
    plain = on_white(image)
    return Picture(width=plain.width, height=plain.height, rgb=plain.tobytes())


def upright(image: Image.Image) -> Image.Image:
    """The decoded image, turned as its EXIF orientation says; broken EXIF turns nothing."""
    image.load()
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError):
        return 1
    return value if isinstance(value, int) else 1


def on_white(image: Image.Image) -> Image.Image:
    """The image as RGB; where it is transparent, white shows."""
    if image.mode.startswith("I"):  # 16 bits of grey: `convert` alone would clip all above 255 to white
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    ground = Image.new("RGBA", clear.size, "white")
    return Image.alpha_composite(ground, clear).convert("RGB")
