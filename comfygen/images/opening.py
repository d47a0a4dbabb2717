"""The seam to Pillow: opening bytes with a pixel cap, so that none of its exceptions or warnings gets out."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image, ImageFile, UnidentifiedImageError

from comfygen.errors import ComfyGenError

MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")  # no TIFF: its library complains on stderr by itself
# What Pillow's readers raise on broken files. It has no base class for them; a fuzz test shows the list to be complete.
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class ImageUnusable(ComfyGenError):
    """The image cannot be used."""

    code = "image_unusable"


def quiet() -> None:
    """Ignore what Pillow's own modules warn about: whatever matters to us, we find out ourselves.

    `catch_warnings` would be no good here: it is not safe with threads, and images are worked on in threads.
    """
    if not any(action == "ignore" and _is_pillow(module) for action, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=r"PIL\.")


def _is_pillow(module: object) -> bool:
    return getattr(module, "pattern", module) == r"PIL\."


@contextmanager
def translated() -> Iterator[None]:
    """Whatever Pillow raises inside leaves as ImageUnusable."""
    quiet()
    try:
        yield
    except PILLOW_ERRORS as exc:
        raise ImageUnusable(f"The image cannot be read: {_reason(exc)}.", hint=_hint(exc)) from exc


def _reason(exc: BaseException) -> str:
    text = str(exc).strip().rstrip(".")
    if isinstance(exc, UnidentifiedImageError):
        return "it is no image of a known format"
    return text or type(exc).__name__


def _hint(exc: BaseException) -> str:
    if isinstance(exc, Image.DecompressionBombError):
        return "Scale it down first."
    return f"Known formats: {', '.join(FORMATS)}."


@contextmanager
def opened(content: bytes, *, max_pixels: int = MAX_PIXELS) -> Iterator[ImageFile.ImageFile]:
    """The image behind the bytes, nothing of it decoded yet; ImageUnusable if its header promises too many pixels."""
    if not content:
        raise ImageUnusable("The image is empty: it has 0 bytes.", hint="Write it anew, then drop the request again.")
    with translated(), Image.open(BytesIO(content), formats=FORMATS) as image:
        check_size(*image.size, max_pixels=max_pixels)
        yield image


def check_size(width: int, height: int, *, max_pixels: int = MAX_PIXELS) -> None:
    """Raise ImageUnusable for more pixels than the cap, before any memory is taken for them."""
    if width * height > max_pixels:
        raise ImageUnusable(
            f"The image is too large: {width}x{height} has {width * height:,} pixels, at most {max_pixels:,} are read.",
            hint="Scale it down first.",
        )
    if width < 1 or height < 1:
        raise ImageUnusable(f"The image has no pixels: {width}x{height}.", hint="Use another one.")
