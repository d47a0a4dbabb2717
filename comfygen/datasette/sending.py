"""Sending files over ASGI with byte ranges, which players need to seek in a video and Datasette does not offer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from comfygen.generation import media_type_of

Send = Callable[[dict[str, Any]], Awaitable[None]]
CHUNK: Final = 256 * 1024
RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, kw_only=True)
class Span:
    """Bytes `start` to `end` (not included) of a file."""

    start: int
    end: int


def wanted(header: str | None, size: int) -> Span | None:
    """The one range that a Range header asks for. None: all of it, since there is no header, or one that we may
    ignore. Raises ValueError if no byte of the file is in the range."""
    found = RANGE.fullmatch((header or "").replace(" ", ""))
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        span = Span(start=max(0, size - int(last)), end=size)
    else:
        span = Span(start=int(first), end=min(size, int(last) + 1) if last else size)
        if last and int(last) < int(first):
            return None
    if span.start >= span.end:
        raise ValueError("not satisfiable")
    return span


async def send_file(send: Send, request: Any, path: Path, *, key: str) -> None:
    """Send a file as what its extension says. What no browser should interpret becomes a download."""
    with path.open("rb") as file:  # not in a thread: a wait that is cancelled would leave the file open
        found = path.stat()
        etag = f'"{found.st_size:x}-{found.st_mtime_ns:x}"'
        kind = media_type_of(key)
        headers = {
            "content-type": kind or "application/octet-stream",
            "accept-ranges": "bytes",
            "cache-control": "private, max-age=0, must-revalidate",
            "etag": etag,
            "x-content-type-options": "nosniff",
            **({} if kind else {"content-disposition": "attachment"}),
        }
        if request.headers.get("if-none-match") == etag:
            await _start(send, 304, headers)
            return
        is_current = request.headers.get("if-range", etag) == etag
        try:
            span = wanted(request.headers.get("range") if is_current else None, found.st_size)
        except ValueError:
            await _start(send, 416, {**headers, "content-range": f"bytes */{found.st_size}"})
            return
        await _send_span(send, file, span, found.st_size, headers)


async def _send_span(send: Send, file: BinaryIO, span: Span | None, size: int, headers: Mapping[str, str]) -> None:
    whole = Span(start=0, end=size)
    start, end = (span or whole).start, (span or whole).end
    part = {"content-range": f"bytes {start}-{end - 1}/{size}"} if span else {}
    sent = {**headers, **part, "content-length": str(end - start)}
    await send({"type": "http.response.start", "status": 206 if span else 200, "headers": _encoded(sent)})
    file.seek(start)
    left = end - start
    while left and (chunk := await asyncio.to_thread(file.read, min(CHUNK, left))):
        left -= len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": b""})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
