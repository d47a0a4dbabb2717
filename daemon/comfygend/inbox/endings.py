"""Endings: the names a request is put away under, and what an earlier ending of the same request has left there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from comfygend.inbox import Ending
from comfygend.inbox.names import fitted

PLACES = (("done", ".result.json"), ("failed", ".error.json"))


def choices(ending: Ending) -> Iterator[str]:
    """Names to put a request away under: its own, or with its id when that is taken."""
    return names_of(ending.name, ending.request_id)


def names_of(name: str, request_id: str) -> Iterator[str]:
    """The same, by the name and the id of the request."""
    own = fitted("", name, ".result.json").removesuffix(".result.json")
    yield own
    yield fitted(f"{request_id}-", own, ".result.json").removesuffix(".result.json")


def is_report_of(report: bytes, request_id: str) -> bool:
    """Whether a report tells of this request."""
    try:
        return bool(json.loads(report).get("request") == request_id)
    except (ValueError, AttributeError):
        return False


def earlier(folder: Path, ending: Ending) -> Iterator[tuple[Path, Path]]:
    """Reports of a request that has ended before and was tried again, each with the place of its file."""
    for place, suffix in PLACES if ending.again else ():
        for name in choices(ending):
            report = folder / place / fitted("", name, suffix)
            if report.is_file() and is_report_of(report.read_bytes(), ending.request_id):
                yield report, folder / place / name
