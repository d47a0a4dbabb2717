"""Images: decode, check, resize and crop, write, thumbnails, PNG text chunks. The only place that knows Pillow."""

from __future__ import annotations

from comfygen.images.checks import ImageFacts, check_image
from comfygen.images.chunks import text_chunks
from comfygen.images.inputs import prepare_input
from comfygen.images.opening import MAX_PIXELS, ImageUnusable
from comfygen.images.pictures import Picture, decode, scale, thumbnail
from comfygen.images.writing import animated_png, animated_webp, png_bytes

__all__ = [
    "MAX_PIXELS",
    "ImageFacts",
    "ImageUnusable",
    "Picture",
    "animated_png",
    "animated_webp",
    "check_image",
    "decode",
    "png_bytes",
    "prepare_input",
    "scale",
    "text_chunks",
    "thumbnail",
]
