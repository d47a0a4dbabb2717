"""Ears: the notifications that the service listens to, kept where /status and the webhook can reach them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from comfygen.store import Hint

if TYPE_CHECKING:
    from comfygen.minio_client import MinioStore, Notifications


class Ear:
    """The present subscription to one prefix of a bucket."""

    def __init__(self, store: MinioStore, prefix: str = "") -> None:
        self.store, self.prefix = store, prefix
        self.current: Notifications | None = None

    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[Hint]]:
        """A new subscription."""
        self.current = self.store.notifications(self.prefix)
        return self.current.run()

    def offer(self, body: bytes) -> str | None:
        """Take a webhook's body; the reason why it cannot be read, or None."""
        return self.current.offer(body) if self.current is not None else None

    def note_reconcile(self, found: int) -> None:
        """A reconcile found so many changes that nobody had told of."""
        if self.current is not None:
            self.current.note_reconcile(found)

    def told(self) -> dict[str, object]:
        """What /status says about it."""
        state = self.current.state.to_json() if self.current is not None else {"state": "starting"}
        return {"prefix": self.store.settings.prefix + self.prefix, **state}
