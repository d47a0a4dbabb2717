"""Writing images: PNG with text chunks, animated WebP and PNG. The same pixels always give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

from PIL import Image, PngImagePlugin

from comfygen.images.opening import ImageUnusable, translated
from comfygen.images.pictures import Picture, to_pillow

PNG_COMPRESSION = 4  # what ComfyUI itself uses


def png_bytes(rgb: bytes, width: int, height: int, *, text: Mapping[str, str] | None = None) -> bytes:
    """A PNG of `width` x `height` RGB pixels; `text` becomes its text chunks, as ComfyUI writes `prompt`."""
    target = BytesIO()
    with translated():
        image = to_pillow(Picture(width=width, height=height, rgb=rgb))
        image.save(target, "PNG", pnginfo=_text(text), compress_level=PNG_COMPRESSION)
    return target.getvalue()


def animated_webp(
    frames: Iterable[Picture], fps: float, *, quality: int = 80, text: Mapping[str, str] | None = None
) -> bytes:
    """An endless WebP animation; `text` goes where ComfyUI puts it, as `key:value` in EXIF tags from 0x0110 down."""
    exif = Image.Exif()
    for place, (key, value) in enumerate((text or {}).items()):
        exif[0x0110 - place] = f"{key}:{value}"
    return _animated(frames, fps, "WEBP", quality=quality, method=2, exif=exif.tobytes() if text else b"")


def animated_png(frames: Iterable[Picture], fps: float, *, text: Mapping[str, str] | None = None) -> bytes:
    """An endless APNG. Frames that equal their predecessor are merged into it: the duration stays, the count drops."""
    return _animated(frames, fps, "PNG", pnginfo=_text(text), compress_level=PNG_COMPRESSION)


def _animated(frames: Iterable[Picture], fps: float, format_: str, **options: Any) -> bytes:
    if not fps > 0:
        raise ImageUnusable(f"An animation of {fps} frames per second cannot be shown.")
    target = BytesIO()
    with translated():
        images = [to_pillow(frame) for frame in frames]
        if not images:
            raise ImageUnusable("An animation needs at least one frame.")
        first, *others = images
        duration = max(1, round(1000 / fps))
        first.save(target, format_, save_all=True, append_images=others, duration=duration, loop=0, **options)
    return target.getvalue()


def _text(text: Mapping[str, str] | None) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    return chunks
