"""Pubsub: who listens to which events, with MinIO's bounded queues and its famous bug."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.minio_double.records import Happening, Source


@dataclass(kw_only=True, eq=False)
class Subscription:
    """One listener: the events of its mask, in its bucket ("" is all of them), whose key fits its pattern."""

    types: frozenset[str]
    bucket: str
    fits: Callable[[str], bool]
    queue: asyncio.Queue[tuple[Happening, Source] | bytes] = field(repr=False)
    deaf: bool = False  # pinged, and told nothing
    silent: bool = False  # half-open: nothing is ever sent again
    budget: int = 0  # bytes until the stream is cut, if streams are being cut
    lost: int = 0

    def wants(self, happening: Happening) -> bool:
        return happening.name in self.types and self.bucket in {"", happening.bucket} and self.fits(happening.key)

    def offer(self, item: tuple[Happening, Source] | bytes) -> None:
        """Put something into the queue; when it is full, it is lost and nobody is told."""
        try:
            self.queue.put_nowait(item)
        except asyncio.QueueFull:
            self.lost += 1


class Pubsub:
    """The listeners of a server."""

    def __init__(self) -> None:
        self.subscriptions: list[Subscription] = []
        self._changed = asyncio.Event()
        self.union: frozenset[str] = frozenset()

    def subscribe(self, subscription: Subscription) -> None:
        self.subscriptions.append(subscription)
        self.union |= subscription.types
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, count: int) -> None:
        """Wait until there are so many listeners."""
        while len(self.subscriptions) != count:
            await self._changed.wait()

    def unsubscribe(self, leaving: Subscription) -> None:
        """Recompute the union of all masks as MinIO does: the listener after the one that leaves is forgotten.

        Its Go code removes from the slice it ranges over, so the next one is skipped and the last one seen twice.
        """
        at = self.subscriptions.index(leaving)
        skipped = self.subscriptions[at + 1 : at + 2]
        self.subscriptions.remove(leaving)
        seen = [other for other in self.subscriptions if other not in skipped or other is self.subscriptions[-1]]
        self.union = frozenset[str]().union(*(other.types for other in seen))
        self._tell()

    def publish(self, happening: Happening, source: Source) -> None:
        """Hand an event to everyone who wants it, if anyone at all is believed to."""
        if happening.name not in self.union:
            return
        for subscription in self.subscriptions:
            if subscription.wants(happening) and not subscription.deaf:
                subscription.offer((happening, source))


def wildcard(prefix: str, suffix: str) -> Callable[[str], bool]:
    """MinIO's filter: `prefix*` and `*suffix` as one pattern, in which their own `*` and `?` are wildcards too."""
    start = f"{prefix.removesuffix('*')}*" if prefix else ""
    end = f"*{suffix.removeprefix('*')}" if suffix else ""
    pattern = (start + end).replace("**", "*") or "*"
    compiled = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
    return lambda key: compiled.fullmatch(key) is not None


def literal(prefix: str, suffix: str) -> Callable[[str], bool]:
    """RustFS's filter: the prefix and the suffix as they are."""
    return lambda key: key.startswith(prefix) and key.endswith(suffix)
