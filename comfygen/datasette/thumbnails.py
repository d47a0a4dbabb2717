"""Thumbnails: made the first time somebody looks, kept as small WebP files beside the databases."""

from __future__ import annotations

import asyncio
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from comfygen.datasette.outputs import Found, as_file
from comfygen.datasette.settings import Settings
from comfygen.errors import OutputMissing
from comfygen.generation import media_type_of

SIZE: Final = 256
AT_ONCE: Final = 2
SHA256: Final = re.compile(r"[0-9a-f]{64}")
PLACEHOLDER: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="160" height="120" viewBox="0 0 160 120">'
    '<rect width="160" height="120" rx="6" fill="#eceff3"/>'
    '<text x="80" y="65" font-family="sans-serif" font-size="13" fill="#7a8594" text-anchor="middle">{}</text></svg>'
)


async def thumbnail(settings: Settings, found: Found) -> bytes:
    """The WebP of an output, made if need be. Raises a ComfyGenError if there is no picture to show."""
    kept = settings.thumbnails / f"{_name(found.version)}.webp"
    run = asyncio.get_running_loop().run_in_executor
    ready = await run(None, _read, kept)
    if ready is not None:
        return ready
    async with as_file(settings.store, found.key) as path:
        return await run(_threads(), partial(_make, kept, path, found.key))


def placeholder(key: str) -> bytes:
    """What stands in for a picture: an SVG that says what the output is, or that it is gone."""
    kind = (media_type_of(key) or "file").partition("/")[0]
    return PLACEHOLDER.format("no preview" if kind == "image" else kind).encode()


def _name(version: str) -> str:
    return version if SHA256.fullmatch(version) else hashlib.sha256(version.encode()).hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _make(kept: Path, path: Path, key: str) -> bytes:
    """On one of our own threads: decoding is the expensive part, and many ask at once."""
    ready = _read(kept)
    if ready is not None:  # made while this one waited
        return ready
    made = _drawn(path, media_type_of(key) or "")
    kept.parent.mkdir(parents=True, exist_ok=True)
    draft = kept.with_suffix(f".{id(made):x}")
    draft.write_bytes(made)
    draft.replace(kept)
    return made


def _drawn(path: Path, media_type: str) -> bytes:
    from comfygen.images import thumbnail as drawn
    from comfygen.videos import poster

    if media_type.startswith("video/"):
        return drawn(poster(path), size=SIZE)
    if media_type.startswith("image/"):
        return drawn(path.read_bytes(), size=SIZE)
    raise OutputMissing("It is neither an image nor a video.")


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="thumbnails")
