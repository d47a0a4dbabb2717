"""Clock: the double's own time, which a test may set wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime


@dataclass
class Clock:
    """Now, and `offset` seconds more."""

    offset: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset)

    def nanoseconds(self) -> int:
        return nanoseconds(self.now())


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def iso_date(moment: datetime) -> str:
    """ISO 8601 with milliseconds and a Z, as in listings and events."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
