"""Listing: objects and versions page by page, as complete or as wrong as the knobs will have it."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote_plus

from tests.minio_double.answers import OWNER, Answer, Refusal, document, tag, xml_answer
from tests.minio_double.calls import Call
from tests.minio_double.clock import iso_date
from tests.minio_double.records import canonical
from tests.minio_double.state import State
from tests.minio_double.storage import Entry

_MARK = "[minio_cache:v2,return:"
_LAST = "\U0010ffff"


@dataclass(frozen=True, kw_only=True)
class Page:
    """Keys and common prefixes in one order, and the last of them where there are more."""

    keys: tuple[str, ...]
    prefixes: tuple[str, ...]
    more: str | None


def page_of(names: list[str], *, prefix: str, delimiter: str, after: str, limit: int) -> Page:
    """The first `limit` keys and common prefixes below a prefix that come after `after`."""
    keys: list[str] = []
    prefixes: list[str] = []
    beyond = after + _LAST if delimiter and after.endswith(delimiter) and after != prefix else after
    at = max(bisect_left(names, prefix), bisect_right(names, beyond) if after else 0)
    last = ""
    while at < len(names) and names[at].startswith(prefix):
        if len(keys) + len(prefixes) == limit:
            return Page(keys=tuple(keys), prefixes=tuple(prefixes), more=last or after or prefix)
        last = names[at]
        cut = last.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            keys.append(last)
            at += 1
        else:
            last = last[: cut + len(delimiter)]
            prefixes.append(last)
            at = bisect_right(names, last + _LAST)
    return Page(keys=tuple(keys), prefixes=tuple(prefixes), more=None)


def _token(last: str, number: int) -> str:
    return base64.b64encode(f"{last}{_MARK}p:{number}]".encode()).decode()


def _resume(token: str) -> tuple[str, int]:
    """Where a continuation token goes on, and which page that is."""
    try:
        last, mark, number = base64.b64decode(token, validate=True).decode().partition(_MARK)
        return last, int(number.removeprefix("p:").removesuffix("]")) if mark else 1
    except (binascii.Error, ValueError):
        raise Refusal("InvalidArgument", "The continuation token provided is incorrect") from None


def _names(state: State, call: Call, number: int) -> list[str]:
    """The keys as this listing sees them."""
    faults = state.faults
    names = state.storage.names(call.bucket)
    if error := faults.page_answers.pop(number, None):
        raise Refusal(error)
    if number == 1 and faults.empty_lists:
        faults.empty_lists -= 1
        return []
    if faults.lag:
        return faults.frozen.setdefault(call.bucket, list(names))
    return names


def _limit(call: Call) -> int:
    text = call.arg("max-keys", "1000") or "1000"
    if not text.isdigit():
        raise Refusal("InvalidArgument", "Argument maxKeys must be an integer between 0 and 2147483647")
    return min(1000, int(text))


def _encoder(call: Call) -> Callable[[str], str]:
    """How keys are written: as they are, or form-encoded with slashes left alone."""
    if call.arg("encoding-type") != "url":
        return str
    return lambda name: quote_plus(name, safe="/*").replace("~", "%7E")


def list_objects_v2(state: State, call: Call) -> Answer:
    token, start = call.arg("continuation-token"), call.arg("start-after")
    after, number = _resume(token) if token else (start, 1)
    limit = _limit(call)
    names = _names(state, call, number)
    page = page_of(names, prefix=call.arg("prefix"), delimiter=call.arg("delimiter"), after=after, limit=limit)
    encode = _encoder(call)
    more = page.more if limit else None
    head: list[str] = [tag("Name", call.bucket), tag("Prefix", encode(call.arg("prefix")))]
    head += [tag("StartAfter", encode(start))] if start else []
    head += [tag("ContinuationToken", token)] if token else []
    head += [tag("NextContinuationToken", _token(more, number + 1))] if more is not None else []
    head += [tag("KeyCount", str(len(page.keys) + len(page.prefixes))), *_tail(call, limit, more, encode)]
    return _listed(state, call, page, head, encode)


def list_objects(state: State, call: Call) -> Answer:
    """The first version of the listing, whose marker is a key."""
    limit, encode = _limit(call), _encoder(call)
    names = _names(state, call, 1)
    marker = call.arg("marker")
    page = page_of(names, prefix=call.arg("prefix"), delimiter=call.arg("delimiter"), after=marker, limit=limit)
    more = page.more if limit else None
    head: list[str] = [tag("Name", call.bucket), tag("Prefix", encode(call.arg("prefix")))]
    head += [tag("Marker", encode(marker))]
    head += [tag("NextMarker", encode(more))] if more is not None else []
    head += _tail(call, limit, more, encode)
    return _listed(state, call, page, head, encode)


def _tail(call: Call, limit: int, more: str | None, encode: Callable[[str], str]) -> list[str]:
    delimiter = [tag("Delimiter", encode(call.arg("delimiter")))] if call.arg("delimiter") else []
    return [tag("MaxKeys", str(limit)), *delimiter, tag("IsTruncated", "true" if more is not None else "false")]


def _listed(state: State, call: Call, page: Page, head: list[str], encode: Callable[[str], str]) -> Answer:
    found = (state.storage.find(call.bucket, key) for key in page.keys)
    entries = (entry for entry in found if entry is not None and not entry.marker)
    rich = call.arg("metadata") == "true"
    lines = [tag("Contents", *_contents(entry, encode), *(_metadata(entry) if rich else [])) for entry in entries]
    lines += [tag("CommonPrefixes", tag("Prefix", encode(prefix))) for prefix in page.prefixes]
    lines += [tag("EncodingType", "url")] if call.arg("encoding-type") == "url" else []
    return xml_answer(document("ListBucketResult", *head, *lines))


def _contents(entry: Entry, encode: Callable[[str], str]) -> list[str]:
    return [
        tag("Key", encode(entry.key)),
        tag("LastModified", iso_date(entry.modified)),
        tag("ETag", f'"{entry.etag}"'),
        tag("Size", str(entry.size)),
        tag("StorageClass", "STANDARD"),
    ]


def _metadata(entry: Entry) -> list[str]:
    """MinIO's own extension, `metadata=true`."""
    values = (tag(canonical(name), value) for name, value in sorted(entry.headers.items()))
    return [tag("UserMetadata", *values), tag("Internal", tag("K", "1"), tag("M", "0"))]


def list_versions(state: State, call: Call) -> Answer:
    """All versions at once: nothing here has a thousand of them."""
    encode, prefix = _encoder(call), call.arg("prefix")
    lines = []
    for entry, latest in state.storage.versions(call.bucket, prefix):
        parts = _contents(entry, encode) if not entry.marker else _marker(entry, encode)
        owner = tag("Owner", tag("ID", OWNER), tag("DisplayName", "minio"))
        parts[4:4] = [owner]
        parts += [tag("IsLatest", str(latest).lower()), tag("VersionId", entry.version or "null")]
        lines.append(tag("DeleteMarker" if entry.marker else "Version", *parts))
    head = [tag("Name", call.bucket), tag("Prefix", encode(prefix)), *(tag(name) for name in _MARKERS)]
    head += [tag("MaxKeys", "1000"), tag("IsTruncated", "false")]
    return xml_answer(document("ListVersionsResult", *head, *lines))


_MARKERS = ("KeyMarker", "NextVersionIdMarker", "VersionIdMarker")


def _marker(entry: Entry, encode: Callable[[str], str]) -> list[str]:
    parts = _contents(entry, encode)
    return [*parts[:2], tag("ETag"), tag("Size", "0"), parts[4]]
