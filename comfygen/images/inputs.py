"""Input images: what a person points at becomes the PNG that is uploaded, resized and cropped as asked."""

from __future__ import annotations

from PIL import Image, ImageOps

from comfygen.images.opening import ImageUnusable, check_size, translated
from comfygen.images.pictures import Picture, decode, from_pillow, to_pillow
from comfygen.images.writing import png_bytes

CROPS = ("cover", "contain", "center")


def prepare_input(content: bytes, *, resize: tuple[int, int] | None, crop: str | None) -> tuple[bytes, int, int]:
    """The image as PNG bytes with their width and height; the same input always gives the same bytes.

    Without `resize` the image keeps its size. With it, the result has exactly that size, and `crop` says how:
    `cover` (also when `crop` is None) scales to fill and cuts the middle, `contain` scales to fit and pads with black,
    `center` does not scale: it cuts the middle out, or pads with black where the image is smaller.
    """
    if crop is not None and crop not in CROPS:
        raise ImageUnusable(f"{crop!r} is no way to crop.", hint=f"Allowed: {', '.join(CROPS)}.")
    if crop is not None and resize is None:
        raise ImageUnusable("crop needs a size to crop to.", hint="Add resize, such as 512x512.")
    picture = decode(content)
    if resize is not None:
        check_size(*resize)
        picture = _fitted(picture, resize, crop or "cover")
    return png_bytes(picture.rgb, picture.width, picture.height), picture.width, picture.height


def _fitted(picture: Picture, size: tuple[int, int], crop: str) -> Picture:
    if (picture.width, picture.height) == size:
        return picture
    with translated():
        image = to_pillow(picture)
        if crop == "cover":
            return from_pillow(ImageOps.fit(image, size, Image.Resampling.LANCZOS))
        if crop == "contain":
            return from_pillow(ImageOps.pad(image, size, Image.Resampling.LANCZOS, color="black"))
        return from_pillow(_middle(image, size))


def _middle(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    ground = Image.new("RGB", size, "black")
    ground.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return ground
