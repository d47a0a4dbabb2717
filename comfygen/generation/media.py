"""Media types by file extension: the same on every machine, unlike the system's own tables."""

from __future__ import annotations

from typing import Final

MEDIA_TYPES: Final = {
    "apng": "image/apng",
    "avif": "image/avif",
    "flac": "audio/flac",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "png": "image/png",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webp": "image/webp",
}


def media_type_of(key: str) -> str | None:
    """What an output is, by the extension of its key; None for one we do not know."""
    return MEDIA_TYPES.get(key.rpartition(".")[2].lower())
