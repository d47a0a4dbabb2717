"""Inboxes: where requests arrive. A folder and a bucket prefix have the same verbs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from comfygen.errors import ComfyGenError
from comfygend.ledger import Arrival, RequestRow


@dataclass(frozen=True, kw_only=True)
class InboxItem:
    """A file that is complete. `refusal` says why it cannot be a request at all (a symlink, a giant, …)."""

    arrival: Arrival
    handle: str
    refusal: ComfyGenError | None = None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a request ended, for the person who dropped it."""

    request_id: str
    name: str
    ok: bool
    report: Mapping[str, Any]
    identity: str = ""
    again: bool = False  # it has ended before, and was tried again


class Inbox(Protocol):
    """A place where requests arrive. `name` is stable: it is written into the ledger."""

    name: str
    rescan_seconds: float

    def items(self) -> AsyncGenerator[InboxItem, None]:
        """Every complete file, now and as long as it is iterated: events are hints, listings are the truth."""
        ...

    async def claim(self, item: InboxItem, request_id: str) -> None:
        """Make the file ours; its bytes are safe in the ledger. Raises InboxError if it changed meanwhile."""
        ...

    async def decline(self, item: InboxItem) -> None:
        """Leave an item where it is: the next look finds it again, here or at another service."""
        return

    async def reclaim(self, row: RequestRow) -> None:
        """Make a request ours once more that has been put away. Raises InboxError if another service has it."""
        return

    async def recover(self, row: RequestRow) -> None:
        """Finish the claim that a crash interrupted, if the file still lies there."""
        ...

    async def file(self, ending: Ending) -> None:
        """Put the file away into done/ or failed/, with its report beside it. Repeating it changes nothing."""
        ...

    async def resume(self, rows: Sequence[RequestRow]) -> list[str]:
        """Take up open requests again after a restart; gives those that are another service's by now."""
        ...

    async def keep(self) -> None:
        """Keep claims alive until cancelled."""
        ...

    async def is_ours(self, request_id: str) -> bool:
        """Whether a request is still ours to work on: asked before every step that others would see."""
        ...

    def strays(self, known: set[str]) -> list[str]:
        """Give back what lies claimed but is unknown to the ledger; its names."""
        ...

    def is_empty(self) -> bool:
        """Whether everything seen so far was handed over, and a full look has been taken since."""
        ...

    def stuck(self) -> Mapping[str, str]:
        """Files that lie there and cannot be taken, with the reason."""
        return {}

    def status(self) -> dict[str, object]:
        """What /status says about it."""
        ...
