"""Reloading: SIGHUP reads configuration, presets and workflows anew; what is broken now keeps its last good version."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pydantic import BaseModel

from comfygen.config import Config, LimitsConfig
from comfygen.errors import ConfigInvalid
from comfygend.board import Board
from comfygend.notify import Notify

log = logging.getLogger(__name__)
SAFE = tuple(
    f"limits.{name}"
    for name in ("rescan_seconds", "reconcile_seconds", "settle_seconds", "spool_bytes", "attempts", "stall_seconds")
)
PART = "configuration"


@dataclass(kw_only=True)
class Reloading:
    """Takes over the keys that may change while everything runs (SAFE). `read` gives the configuration anew."""

    config: Config
    read: Callable[[], Config]
    apply: Callable[[LimitsConfig], None]
    check: Callable[[], object]
    board: Board
    notify: Notify
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Reload whenever it is asked for, until cancelled."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            self.notify.reloading()
            self.check()
            self._reload()
            self.notify.say("READY=1", "STATUS=working")

    def _reload(self) -> None:
        """Take the configuration over, or say why not."""
        try:
            fresh = self.read()
        except ConfigInvalid as exc:
            self.board.trouble(PART, exc.message, "The service goes on with the one it has. Mend it, and reload again.")
            return
        changed = sorted(differences(self.config, fresh))
        waiting = [key for key in changed if key not in SAFE]
        self.apply(fresh.limits)
        log.info("reloaded; changed: %s", ", ".join(changed) or "nothing")
        if waiting:
            hint = f"Restart the service. Without that, only these may change: {', '.join(SAFE)}."
            self.board.trouble(PART, f"Changed, but not in use yet: {', '.join(waiting)}.", hint)
        else:
            self.board.well(PART)


def differences(before: BaseModel, after: BaseModel, prefix: str = "") -> Iterator[str]:
    """The keys in which two configurations differ, dotted."""
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}"
