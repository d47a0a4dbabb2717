"""PNG text chunks: read without decoding, of every kind, bounded, and never with an error."""

from __future__ import annotations

import struct
import zlib

import pytest

from comfygen.images import png_bytes, text_chunks


def test_text_chunks_come_back() -> None:
    """What is written as text is read as text, Latin-1 or not."""
    text = {"prompt": '{"3": {}}', "workflow": "Straße 東京 🙂", "parameters": "steps: 20"}
    assert text_chunks(png_bytes(b"\xff\0\0", 1, 1, text=text)) == text


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk; the checksum is nobody's business here."""
    return struct.pack(">I", len(body)) + kind + body + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"zipped")), {"prompt": "zipped"}),
        (chunk(b"iTXt", b"prompt\0\1\0en\0\0" + zlib.compress("ü".encode())), {"prompt": "ü"}),
        (chunk(b"tEXt", b"prompt\0a") + chunk(b"tEXt", b"prompt\0b"), {"prompt": "a"}),
        (chunk(b"tEXt", b"no mark"), {}),
        (chunk(b"zTXt", b"prompt\0\0no zip"), {}),
        (chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"\0" * 9_000_000)), {}),
        (chunk(b"tEXt", b"prompt\0whole") + chunk(b"tEXt", b"workflow\0cut off")[:-6], {"prompt": "whole"}),
    ],
)
def test_text_chunks_of_every_kind(body: bytes, expected: dict[str, str]) -> None:
    """Zipped and international text is read; what is broken, cut off or swollen is left out."""
    assert text_chunks(b"\x89PNG\r\n\x1a\n" + body) == expected


def test_text_chunks_are_bounded() -> None:
    """A file of a thousand chunks gives 64."""
    body = b"".join(chunk(b"tEXt", f"key{n}\0x".encode()) for n in range(1000))
    assert len(text_chunks(b"\x89PNG\r\n\x1a\n" + body)) == 64
