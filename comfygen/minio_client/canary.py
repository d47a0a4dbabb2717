"""Canary: an object written now and then, whose event must come; pings alone are no proof that a listener hears."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Mapping
from typing import Protocol

from comfygen.minio_client.settings import ListenSettings, Timing
from comfygen.minio_client.waiting import within
from comfygen.store import Stored

FOLDER = ".comfygen/"
HEARTBEAT = f"{FOLDER}heartbeat-"


class Writer(Protocol):
    """The store, as far as the canary needs it."""

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> Stored: ...


class Canary:
    """One heartbeat object per machine, overwritten each time, so that nothing piles up."""

    def __init__(self, store: Writer, settings: ListenSettings, timing: Timing) -> None:
        identity = settings.identity or re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:64]
        self.key = f"{HEARTBEAT}{identity}"
        self._store = store
        self._bound = settings.canary_bound
        self._timing = timing
        self._heard = asyncio.Event()

    def hear(self, key: str) -> bool:
        """Take note of an event; whether it was a heartbeat (anybody's), which is no work for anyone."""
        if key == self.key:
            self._heard.set()
        return key.startswith(HEARTBEAT)

    async def sing(self) -> float | None:
        """Write, and wait for the event: the seconds it took, None if it did not come. Raises the StoreError tree."""
        self._heard.clear()
        began = self._timing.clock()
        body = json.dumps({"written": self._timing.now().isoformat()}).encode()
        await self._store.put(self.key, body, content_type="application/json")
        if await within(self._bound, self._heard.wait(), self._timing) is None:
            return None
        return self._timing.clock() - began
