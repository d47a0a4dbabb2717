"""A flood of equal warnings fills no disk."""

from __future__ import annotations

import logging

from comfygend.logs import Flood


def written(flood: Flood, count: int, text: str = "%s cannot be read", level: int = logging.WARNING) -> list[str]:
    """What passes of so many records of one kind."""
    records = [logging.LogRecord("comfygend.x", level, "f", 1, text, (n,), None) for n in range(count)]
    return [record.getMessage() for record in records if flood.filter(record)]


def test_so_many_of_one_kind_pass() -> None:
    """Ten thousand of them are fifty lines; another kind has its own fifty."""
    flood = Flood(clock=lambda: 0)
    assert len(written(flood, 10_000)) == 50
    assert len(written(flood, 10_000, "%s is broken")) == 50


def test_what_was_kept_back_is_told_later() -> None:
    """The first one of the next minute says how many there were."""
    now = [0.0]
    flood = Flood(most=2, clock=lambda: now[0])
    assert written(flood, 10) == ["0 cannot be read", "1 cannot be read"]
    now[0] = 61
    assert written(flood, 1) == ["0 cannot be read (8 more like it were not written)"]
    assert written(flood, 1) == ["0 cannot be read"]


def test_what_is_no_warning_always_passes() -> None:
    """A thousand jobs an hour are a thousand lines."""
    assert len(written(Flood(most=1, clock=lambda: 0), 1000, level=logging.INFO)) == 1000
