"""Fields: typed access to a JSON object that somebody else wrote. A wrong type says which key, never guesses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from comfygen.errors import ComfyGenError

INT64: Final = 2**63 - 1
UINT64: Final = 2**64 - 1
EXACT_FLOAT: Final = 2**53


class SidecarUnreadable(ComfyGenError):
    """The sidecar cannot be read."""

    code = "sidecar_unreadable"

    def __init__(self, reason: str, *, hint: str | None = None) -> None:
        self.reason = reason
        super().__init__(reason, hint=hint)


@dataclass(frozen=True)
class Fields:
    """A JSON object. Every getter gives None (or nothing) for a key that is absent or null, and raises
    SidecarUnreadable for a value of another type."""

    values: Mapping[str, object]
    place: str = ""

    def wrong(self, name: str, wanted: str) -> SidecarUnreadable:
        """The error that says what `name` should have been."""
        shown = repr(self.values.get(name))
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return SidecarUnreadable(f"{self.place}{name} is {shown}, not {wanted}.")

    def text(self, name: str) -> str | None:
        """Text that can be stored: no half of a surrogate pair."""
        value = self.values.get(name)
        return None if value is None else self._text(name, value)

    def _text(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.wrong(name, "text")
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise SidecarUnreadable(f"{self.place}{name} holds half of a surrogate pair: it is no valid Unicode text.")
        return value

    def integer(self, name: str, *, low: int = 0, high: int = INT64) -> int | None:
        """A whole number; 512.0 is one, too, as long as a float can tell it from its neighbours."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_FLOAT:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str) -> float | None:
        """A finite number."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise SidecarUnreadable(f"{self.place}{name} is no finite number.")
        return number

    def flag(self, name: str) -> bool:
        """True or false; false if absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return bool(value)

    def moment(self, name: str) -> str | None:
        """A point in time, in the one spelling of history. One without a zone is read as UTC."""
        text = self.text(name)
        if text is None:
            return None
        try:
            parsed = datetime.fromisoformat(text)
            aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
            return spelled(aware.astimezone(UTC))
        except (ValueError, OverflowError) as exc:
            raise self.wrong(name, "an ISO 8601 time") from exc

    def part(self, name: str) -> Fields:
        """A nested object; an empty one if absent."""
        return self._part(name, self.values.get(name))

    def _part(self, name: str, value: object) -> Fields:
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Fields(value or {}, f"{self.place}{name}.")

    def items(self, name: str) -> list[object]:
        """A list; an empty one if absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, list):
            raise self.wrong(name, "a list")
        return value or []

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self._text(name, item) for item in self.items(name))

    def parts(self, name: str) -> tuple[Fields, ...]:
        """A list of objects."""
        return tuple(self._part(f"{name}[{n}]", item) for n, item in enumerate(self.items(name)))


def spelled(moment: datetime) -> str:
    """An aware UTC time in the one spelling of history: always microseconds, always Z, so that text order is time."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
