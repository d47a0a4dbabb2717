"""BucketEvent: one bucket notification as a value, whatever server and way it came by.

Events are hints. They get lost, doubled, reordered, and some tell of deletions that never happened, so that nothing
here decides anything: an event says which key to look at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeGuard
from urllib.parse import unquote_plus

from comfygen.errors import ComfyGenError

MAX_LINE_BYTES = 1 << 20  # a key has 1 kB and metadata 2 kB at most: a line is a few kB
QUIET_TAILS = frozenset({"NoOP", "PutTagging", "DeleteTagging", "PutRetention", "PutLegalHold"})
WORK_HEADS = ("s3:ObjectCreated:", "s3:ObjectRemoved:", "s3:LifecycleDelMarkerExpiration:", "s3:LifecycleExpiration:")
CREATED_HEAD = "s3:ObjectCreated:"


class EventUnreadable(ComfyGenError):
    """A notification cannot be understood."""

    code = "event_unreadable"


class Dialect(StrEnum):
    """How a server spells the key inside `Records`."""

    RAW = "raw"  # as it is: MinIO's listen
    FORM = "form"  # form-encoded (`a+b%2Bc`): every target (webhook, NATS), RustFS, AWS


LISTEN_DIALECTS: Mapping[str, Dialect] = {
    "minio:s3": Dialect.RAW,
    "rustfs:s3": Dialect.FORM,
    "aws:s3": Dialect.FORM,
}


@dataclass(frozen=True, kw_only=True)
class BucketEvent:
    """What one record says. `name` always has its `s3:` in front; `sequencer` only tells doubles, it orders nothing."""

    bucket: str
    key: str
    name: str
    removed: bool = False
    etag: str = ""
    size: int = 0
    sequencer: str = ""
    source: str = ""

    @property
    def work(self) -> bool:
        """Whether the object itself may have changed: tags, legal holds, reads and NoOP deletions are no work."""
        return self.name.startswith(WORK_HEADS) and self.name.rpartition(":")[2] not in QUIET_TAILS


class LineReader:
    """Lines out of a byte stream cut anywhere. What is left at the end of the stream is a partial line: dropped.

    Blanks before a line are dropped at once: servers before 2023-04 send one every half second and never a newline.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._rest = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished line are kept."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, blank ones left out. Raises EventUnreadable when one grows too long."""
        *lines, rest = chunk.split(b"\n")
        whole = []
        for line in lines:
            self._keep(line)
            if text := bytes(self._rest).strip():
                whole.append(text)
            self._rest.clear()
        self._keep(rest)
        return whole

    def _keep(self, part: bytes) -> None:
        self._rest += part if self._rest else part.lstrip()
        if len(self._rest) > self._max:
            self._rest.clear()
            raise EventUnreadable(f"A notification of more than {self._max} bytes without an end.")


def parse_line(line: bytes, *, dialect: Dialect | None = None) -> tuple[BucketEvent, ...]:
    """The events of one line of a listen stream; none for a ping. Raises EventUnreadable.

    Without a `dialect`, each record's `eventSource` tells it.
    """
    if not line.strip():
        return ()
    return tuple(event for record in _records(line) for event in _events(record, dialect))


def parse_body(body: bytes) -> tuple[BucketEvent, ...]:
    """The events of a webhook's body, whose keys are form-encoded whoever sends it. Raises EventUnreadable."""
    return parse_line(body, dialect=Dialect.FORM)


def _records(text: bytes) -> list[object]:
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise EventUnreadable(f"A notification that is no JSON: {text[:80]!r}.") from exc
    if not _is_mapping(document) or not ("Records" in document or document.get("Event") == "s3:TestEvent"):
        raise EventUnreadable(f"A notification without Records: {text[:80]!r}.")
    records = document.get("Records") or []
    if not isinstance(records, list):
        raise EventUnreadable("A notification whose Records are no list.")
    return records


def _is_mapping(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _events(record: object, dialect: Dialect | None) -> tuple[BucketEvent, ...]:
    """One event; two when nobody can say how an unknown server spells its keys (a look at both tells)."""
    if not _is_mapping(record):
        raise EventUnreadable("A notification record that is no object.")
    body = _part(record, "s3")
    named = _part(body, "object")
    name = _text(record, "eventName")
    source = _text(record, "eventSource", "")
    return tuple(
        BucketEvent(
            bucket=_text(_part(body, "bucket"), "name"),
            key=key,
            name=(full := name if name.startswith("s3:") else f"s3:{name}"),
            removed=not full.startswith(CREATED_HEAD),
            etag=_text(named, "eTag", ""),
            size=_size(named),
            sequencer=_text(named, "sequencer", ""),
            source=source,
        )
        for key in _keys(_text(named, "key"), dialect or LISTEN_DIALECTS.get(source))
    )


def _keys(spelt: str, dialect: Dialect | None) -> tuple[str, ...]:
    if dialect is Dialect.RAW:
        return (spelt,)
    decoded = unquote_plus(spelt)
    return (decoded,) if dialect is Dialect.FORM else tuple(dict.fromkeys((spelt, decoded)))


def _part(value: Mapping[str, object], name: str) -> dict[str, object]:
    part = value.get(name)
    if not _is_mapping(part):
        raise EventUnreadable(f"A notification record without {name!r}.")
    return part


def _text(value: Mapping[str, object], name: str, default: str | None = None) -> str:
    text = value.get(name, default)
    if not isinstance(text, str) or (default is None and not text):
        raise EventUnreadable(f"A notification record without {name!r}.")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise EventUnreadable(f"A notification record whose {name!r} is no Unicode text.")
    return text


def _size(value: Mapping[str, object]) -> int:
    size = value.get("size", 0)
    if not isinstance(size, int) or isinstance(size, bool):
        raise EventUnreadable("A notification record whose size is no number.")
    return size
