"""A store in memory that does what it is told to: hides, fails, lies, and counts what it was asked."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from comfygen.errors import NoSuchKey, PreconditionFailed, StoreError, StoreUnavailable
from comfygen.store import Hint, Stored


class MemoryStore:
    """Every verb of `comfygen.store.Store`. Its faults are plain attributes that tests set and clear."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.metadata: dict[str, Mapping[str, str]] = {}
        self.etags: Iterator[int] = itertools.count(1)
        self.asked: Counter[str] = Counter()
        self.written: list[str] = []
        self.hidden: set[str] = set()  # not listed, though they are there
        self.listed: int | None = None  # a listing breaks off after so many objects
        self.empty = False  # a listing gives nothing, and says that this is all
        self.errors: dict[str, list[StoreError]] = {}  # verb, or verb and key -> errors still to be raised
        self.before: Callable[[str, str], None] = lambda verb, key: None  # runs before each answer
        self.hints: asyncio.Queue[Hint | StoreError] = asyncio.Queue()
        self.subscriptions = 0

    def fill(self, objects: Mapping[str, bytes]) -> None:
        """What a foreign writer does."""
        for key, body in objects.items():
            self.objects[key] = body, str(next(self.etags))

    def _answer(self, verb: str, key: str) -> None:
        self.asked[verb] += 1
        for fault in (verb, f"{verb} {key}"):
            if self.errors.get(fault):
                raise self.errors[fault].pop(0)
        self.before(verb, key)

    def _stored(self, key: str) -> Stored:
        if key not in self.objects:
            raise NoSuchKey(f"{key!r} does not exist.")
        body, etag = self.objects[key]
        return Stored(key=key, etag=etag, size=len(body))

    async def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> Stored:
        self._answer("put", key)
        if if_none_match and key in self.objects:
            raise PreconditionFailed
        content = body if isinstance(body, bytes) else await asyncio.to_thread(body.read_bytes)
        self.fill({key: content})
        self.metadata[key] = {"content-type": content_type, **(metadata or {})}
        self.written.append(key)
        return self._stored(key)

    async def get(self, key: str, *, max_bytes: int | None = None) -> tuple[bytes, Stored]:
        self._answer("get", key)
        stored = self._stored(key)
        if max_bytes is not None and stored.size > max_bytes:
            raise StoreError(f"{key!r} is too large.")
        return self.objects[key][0], stored

    async def head(self, key: str) -> Stored:
        self._answer("head", key)
        return self._stored(key)

    async def list(self, prefix: str = "", *, start_after: str = "") -> AsyncIterator[Stored]:
        self._answer("list", prefix)
        keys = [] if self.empty else sorted(self.objects.keys() - self.hidden, key=str.encode)
        for n, key in enumerate(keys):
            if n == self.listed:
                raise StoreUnavailable("The listing broke off.")
            if n % 1000 == 0:
                await asyncio.sleep(0)
            if key.startswith(prefix) and key > start_after:
                yield self._stored(key)

    @asynccontextmanager
    async def listen(self, prefix: str = "") -> AsyncIterator[AsyncIterator[Hint]]:
        self._answer("listen", prefix)
        self.subscriptions += 1
        yield self._following()

    async def _following(self) -> AsyncIterator[Hint]:
        while True:
            hint = await self.hints.get()
            if isinstance(hint, StoreError):
                raise hint
            yield hint

    async def delete(self, key: str) -> None:
        self._answer("delete", key)
        self.objects.pop(key, None)

    def url(self, key: str) -> str:
        return f"memory:///{key}"
