"""The queue: what waits, what runs, and the history; in memory only, as in ComfyUI.

What waits is a heap of tuples, and two prompts of equal number and id make it compare their graphs: it raises TypeError
where ComfyUI's heap does (README of the recordings, surprise 4), after the push or in the worker.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from comfygen.graph import Graph

MAX_HISTORY = 10000


class Item(NamedTuple):
    """A queued prompt, in the order in which `/queue` and `/history` show it."""

    number: float
    prompt_id: str
    graph: Graph
    extra_data: dict[str, Any]
    outputs: list[str]

    @property
    def client_id(self) -> str | None:
        client = self.extra_data.get("client_id")
        return None if client is None else str(client)


class PromptQueue:
    """`changed` is called whenever the number of waiting and running prompts may have changed."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.pending: list[Item] = []
        self.running: list[Item] = []
        self.history: dict[str, dict[str, Any]] = {}
        self.wake = asyncio.Event()
        self._changed = changed

    @property
    def remaining(self) -> int:
        return len(self.pending) + len(self.running)

    def put(self, item: Item) -> None:
        try:
            heapq.heappush(self.pending, item)
        finally:  # pushed even if its place could not be found
            self.wake.set()
        self._changed()

    def take(self) -> Item:
        item = heapq.heappop(self.pending)
        self.running.append(item)
        self._changed()
        return item

    def finish(self, item: Item, entry: dict[str, Any]) -> None:
        """Move a prompt that is over into the history."""
        self.running.remove(item)
        if len(self.history) > MAX_HISTORY:
            del self.history[next(iter(self.history))]
        self.history[item.prompt_id] = {"prompt": list(item), **entry}
        self._changed()

    def delete(self, prompt_id: object) -> bool:
        """Take one waiting prompt out, unseen by anyone; whether there was one."""
        for place, item in enumerate(self.pending):
            if item.prompt_id == prompt_id:
                del self.pending[place]
                heapq.heapify(self.pending)
                self._changed()
                return True
        return False

    def clear(self) -> None:
        self.pending.clear()
        self._changed()

    def forget(self, prompt_ids: Iterable[object]) -> None:
        """Delete history entries."""
        for prompt_id in prompt_ids:
            self.history.pop(str(prompt_id), None)

    def lose(self) -> None:
        """What a restart does."""
        self.pending.clear()
        self.running.clear()
        self.history.clear()

    def recent(self, max_items: int | None, offset: int) -> dict[str, dict[str, Any]]:
        """The newest `max_items` entries, oldest first, or those from `offset` on."""
        if offset < 0:
            offset = 0 if max_items is None else max(0, len(self.history) - max_items)
        chosen = list(self.history.items())[offset:]
        return dict(chosen if max_items is None else chosen[: max(0, max_items)])
