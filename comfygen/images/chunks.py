"""The text chunks of a PNG, read without decoding it: where ComfyUI leaves the graph that made the image."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 64
MAX_TEXT_BYTES = 8 * 1024 * 1024


def text_chunks(content: bytes) -> dict[str, str]:
    """Every text chunk (`prompt`, `workflow`, `parameters`, …) by keyword, the first of each.

    At most 64 chunks of at most 8 MiB each; what is larger, broken or cut off is left out, and what is no PNG has none.
    Never raises.
    """
    found: dict[str, str] = {}
    for kind, body in _chunks(content):
        keyword, value = _text(kind, body)
        if keyword and value is not None:
            found.setdefault(keyword, value)
        if len(found) >= MAX_CHUNKS:
            break
    return found


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    if not content.startswith(SIGNATURE):
        return
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 8 + length
        if end + 4 > len(content):
            return
        if kind in READERS and length <= MAX_TEXT_BYTES:
            yield kind, content[at + 8 : end]
        at = end + 4


def _text(kind: bytes, body: bytes) -> tuple[str, str | None]:
    keyword, mark, rest = body.partition(b"\0")
    value = READERS[kind](rest) if mark else None
    return keyword.decode("latin-1"), value


def _plain(rest: bytes) -> str | None:
    return rest.decode("latin-1")


def _zipped(rest: bytes) -> str | None:
    text = _unzipped(rest[1:])
    return None if text is None else text.decode("latin-1")


def _international(rest: bytes) -> str | None:
    flag, (_language, _, tail) = rest[:1], rest[2:].partition(b"\0")
    _translated, _, text = tail.partition(b"\0")
    raw = _unzipped(text) if flag == b"\1" else text
    return None if raw is None else raw.decode("utf-8", "replace")


def _unzipped(packed: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, MAX_TEXT_BYTES)
    except zlib.error:
        return None
    return text if unpacker.eof else None


READERS = {b"tEXt": _plain, b"zTXt": _zipped, b"iTXt": _international}
