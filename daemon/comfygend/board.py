"""Board: what every part of the service says about itself, for /status and /healthz."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something that keeps a part from working, since when, and what to do about it."""

    message: str
    since: str
    hint: str | None = None


@dataclass
class Board:
    """Parts report their troubles here; each is logged once when it begins and once when it ends."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    parts: dict[str, Callable[[], object]] = field(default_factory=dict)

    def trouble(self, part: str, message: str, hint: str | None = None) -> None:
        """A part cannot work. Said again with the same words it is no news."""
        known = self.troubles.get(part)
        if known is None or known.message != message:
            log.warning("%s: %s %s", part, message, hint or "")
            since = known.since if known else self.now().isoformat(timespec="seconds")
            self.troubles[part] = Trouble(message=message, since=since, hint=hint)

    def well(self, part: str) -> None:
        """A part works (again)."""
        if self.troubles.pop(part, None) is not None:
            log.info("%s: works again", part)

    def told(self) -> dict[str, object]:
        """Everything, as JSON values."""
        return {
            "ok": not self.troubles,
            "troubles": {part: vars(trouble) for part, trouble in self.troubles.items()},
            **{name: tell() for name, tell in self.parts.items()},
        }
