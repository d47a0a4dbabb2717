"""What a folder adds to the rules for keys, and how its files look as objects."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import PurePosixPath

from comfygen.errors import KeyInvalid, Problem
from comfygen.store import Stored, check_key, key_problems

HIDDEN = "."
MEDIA_TYPES = {
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".opus": "audio/ogg",
    ".png": "image/png",
    ".txt": "text/plain",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
ANY_TYPE = "application/octet-stream"


def folder_key(key: str) -> str:
    """The key itself; raises KeyInvalid if a store, or this one, would refuse it. Hidden names are the folder's own."""
    if any(part.startswith(HIDDEN) for part in check_key(key).split("/")):
        reason = f"{key!r} cannot be a key in a folder: one of its parts begins with a dot"
        raise KeyInvalid("The store would refuse this key.", problems=[Problem(field="key", message=reason)])
    return key


def is_hidden(key: str) -> bool:
    """Whether a relative path is no object's because it, or a folder of it, is hidden."""
    return key.startswith(HIDDEN) or f"/{HIDDEN}" in key


def is_possible(key: str) -> bool:
    """Whether a file of this relative path can be asked for as an object; a name that is no UTF-8 cannot."""
    return not key_problems(key)


def media_type(key: str) -> str:
    """The media type by the key's suffix: a folder keeps no other."""
    return MEDIA_TYPES.get(PurePosixPath(key).suffix.lower(), ANY_TYPE)


def is_object(found: os.stat_result) -> bool:
    """Only regular files are objects: no links, pipes, sockets or devices."""
    return stat.S_ISREG(found.st_mode)


def stored(key: str, found: os.stat_result) -> Stored:
    """A file as an object. Its etag changes with every rewrite, also one of equal size that puts the time back."""
    return Stored(
        key=key,
        etag=f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ctime_ns:x}",
        size=found.st_size,
        modified=datetime.fromtimestamp(found.st_mtime, UTC),
        content_type=media_type(key),
    )
