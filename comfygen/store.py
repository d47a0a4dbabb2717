"""Store: the port to wherever outputs live. A folder and a bucket answer the same verbs.

A key is a relative path with `/`. An etag changes whenever the object does; it is opaque and need be no hash.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from comfygen.errors import KeyInvalid, Problem

MAX_KEY_BYTES = 1024
MAX_SEGMENT_BYTES = 255
LONGEST_SUFFIX = ".error.json"
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An object as the store knows it. `metadata` and `content_type` are known after put and head, not after list."""

    key: str
    etag: str
    size: int
    modified: datetime | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Change(StrEnum):
    """What a hint says. Only a look at the key tells the truth."""

    WRITTEN = "written"
    REMOVED = "removed"
    RECONCILE = "reconcile"  # events may have been missed: list everything


@dataclass(frozen=True, kw_only=True)
class Hint:
    """Look at this key (or, for RECONCILE, at everything)."""

    change: Change
    key: str = ""


class Store(Protocol):
    """Where outputs and sidecars live. Errors: the StoreError tree; never a library's own exceptions."""

    async def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        """Write an object atomically and durably. With `if_none_match`, raise PreconditionFailed if it exists."""
        ...

    async def get(self, key: str, *, max_bytes: int | None = None) -> tuple[bytes, Stored]:
        """The bytes and what they are. Raises NoSuchKey; StoreError if larger than `max_bytes`."""
        ...

    async def head(self, key: str) -> Stored:
        """What an object is. Raises NoSuchKey, or NoSuchBucket when all of it is gone."""
        ...

    def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Stored]:
        """Every object below a prefix in UTF-8 byte order of its key. Raises if the listing is not complete."""
        ...

    def listen(self, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Hint]]:
        """Hints about changes. When the context is entered the subscription stands: list now, and nothing is missed."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def url(self, key: str) -> str:
        """Where a person finds the object, percent-encoded per segment."""
        ...


def key_problems(key: str) -> list[Problem]:
    """Why a store would refuse a key (MinIO's rules, the strictest we know). Empty when the key is fine."""
    found: list[str] = []
    segments = key.split("/")
    try:
        size = len(key.encode())
        longest = max(len(segment.encode()) for segment in segments)
    except UnicodeEncodeError:
        return [Problem(field="key", message=f"{key!r} is no valid Unicode text")]
    if not key:
        found.append("it is empty")
    if size > MAX_KEY_BYTES:
        found.append(f"it has {size} bytes, at most {MAX_KEY_BYTES} are possible")
    if longest > MAX_SEGMENT_BYTES:
        found.append(f"one of its parts has {longest} bytes, at most {MAX_SEGMENT_BYTES} are possible")
    if key and "" in segments:
        found.append("it starts or ends with a slash, or has two in a row")
    if "." in segments or ".." in segments:
        found.append("it has a part '.' or '..'")
    if FORBIDDEN.search(key):
        found.append("it has a control character or a backslash")
    return [Problem(field="key", message=f"{key!r} cannot be a key: {why}") for why in found]


def check_key(key: str) -> str:
    """The key itself; raises KeyInvalid with every reason against it."""
    if problems := key_problems(key):
        raise KeyInvalid("A store would refuse this key.", problems=problems)
    return key
