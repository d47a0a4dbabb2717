"""Whether an image that came back is whole: every frame is decoded, every checksum read."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageFile

from comfygen.errors import OutputMissing
from comfygen.images.chunks import SIGNATURE
from comfygen.images.opening import ImageUnusable, opened

PNG_END = b"IEND\xaeB`\x82"
MAX_TAIL = 64 * 1024  # some programs write a little behind the end


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What an image file is: `format` in lower case ("png"), `frames` 1 for a still."""

    format: str
    media_type: str
    width: int
    height: int
    frames: int


def check_image(content: bytes) -> ImageFacts:
    """What the file is, after decoding all of it. Raises OutputMissing with the reason if it is broken or cut off."""
    try:
        _check_ends(content)
        with opened(content) as image:
            if image.format == "PNG":
                image.verify()  # reads every chunk and its checksum up to IEND, but decodes nothing and closes
        with opened(content) as image:
            return _decoded(image)
    except ImageUnusable as exc:
        raise OutputMissing(f"An output is no whole image. {exc.message}") from exc


def _decoded(image: ImageFile.ImageFile) -> ImageFacts:
    frames = getattr(image, "n_frames", 1)
    for frame in range(frames):
        image.seek(frame)
        image.load()
    name = image.format or ""
    return ImageFacts(
        format=name.lower(),
        media_type=Image.MIME.get(name, "application/octet-stream"),
        width=image.width,
        height=image.height,
        frames=frames,
    )


def _check_ends(content: bytes) -> None:
    """Three formats are read to the last whole frame, and no error tells that the rest is missing."""
    if content.startswith(SIGNATURE) and PNG_END not in content[-MAX_TAIL:]:
        raise ImageUnusable("The PNG is cut off: its end is missing.")
    if content.startswith(b"GIF8") and b";" not in content.rstrip(b"\0")[-1:]:
        raise ImageUnusable("The GIF is cut off: its end is missing.")
    promised = int.from_bytes(content[4:8], "little") + 8
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP" and len(content) < promised:
        raise ImageUnusable(f"The WebP is cut off: {len(content)} of {promised} bytes.")
