"""Faults: everything that is wrong with the server at the moment, as the knobs have set it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random

from tests.minio_double.records import Dialect, Happening, Source


@dataclass(frozen=True, kw_only=True)
class Target:
    """Which requests are meant: by HTTP method or operation name, and by key (or bucket, where there is no key)."""

    method: str = "*"
    key: str = "*"

    def means(self, method: str, operation: str, key: str) -> bool:
        return any(fnmatchcase(name, self.method) for name in (method, operation)) and fnmatchcase(key, self.key)


@dataclass(kw_only=True)
class Script:
    """The answers that matching requests get, one after the other; None lets a request through."""

    target: Target
    answers: deque[str | None]
    forever: bool = False

    def next(self) -> str | None:
        answer = self.answers.popleft()
        if self.forever:
            self.answers.append(answer)
        return answer


@dataclass(kw_only=True)
class Counted:
    """A fault that strikes the next `times` matching requests."""

    target: Target
    times: int

    def strikes(self, method: str, operation: str, key: str) -> bool:
        hit = self.times > 0 and self.target.means(method, operation, key)
        self.times -= hit
        return hit


@dataclass(kw_only=True)
class Faults:
    """The state behind the knobs. The defaults are a healthy MinIO."""

    dialect: Dialect = Dialect.MINIO
    # events
    event_keys: str = "*"
    drop: int = 0
    duplicate: int = 0
    reorder: int = 0
    held: list[tuple[Happening, Source]] = field(default_factory=list)
    odds: dict[str, float] = field(default_factory=dict)
    dice: Random = field(default_factory=lambda: Random(0))
    replay: int = 0
    past: deque[tuple[Happening, Source]] = field(default_factory=lambda: deque(maxlen=1000))
    queue_capacity: int = 4000
    # listen streams
    deaf: bool = False
    muffled: bool = False
    stalled: bool = False
    headers_delay: float = 0.0
    cuts: int = 0
    cut_after: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    # requests
    scripts: list[Script] = field(default_factory=list)
    lost_acks: list[Counted] = field(default_factory=list)
    truncated: list[Counted] = field(default_factory=list)
    upload_rate: float = 0.0
    refuse_chunked: bool = False
    conditional: str = ""
    # listings
    frozen: dict[str, list[str]] = field(default_factory=dict)
    lag: bool = False
    empty_lists: int = 0
    page_answers: dict[int, str] = field(default_factory=dict)

    def answer(self, method: str, operation: str, key: str) -> str | None:
        """The error that a request gets instead of what it asked for."""
        for script in self.scripts:
            if script.target.means(method, operation, key):
                found = script.next()
                self.scripts = [rest for rest in self.scripts if rest.answers]
                return found
        return None

    def ignores_conditions(self) -> bool:
        return self.conditional == "ignore" or self.dialect is Dialect.OLD

    def emitted(self, happening: Happening, source: Source) -> Iterator[tuple[Happening, Source]]:
        """What becomes of one event on its way to the listeners: nothing, itself, or more."""
        event = (happening, source)
        self.past.append(event)
        if not fnmatchcase(happening.key, self.event_keys):
            yield event
        elif self._strikes("drop", self.drop):
            self.drop = max(0, self.drop - 1)
        elif self.reorder:
            self.reorder -= 1
            self.held.append(event)
            yield from self._released() if not self.reorder else ()
        elif self._strikes("reorder", 0):
            self.held.append(event)
        else:
            yield event
            if self._strikes("duplicate", self.duplicate):
                self.duplicate = max(0, self.duplicate - 1)
                yield event
            yield from self._released()

    def _released(self) -> Iterator[tuple[Happening, Source]]:
        """The events held back so far, the latest first."""
        while self.held:
            yield self.held.pop()

    def _strikes(self, fault: str, count: int) -> bool:
        return count > 0 or self.dice.random() < self.odds.get(fault, 0.0)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Change something that waiting streams must look at again."""
        yield
        self.changed.set()
        self.changed = asyncio.Event()
