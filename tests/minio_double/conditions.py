"""Conditions: If-Match and its kin, for reads, writes and the sources of copies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from tests.minio_double.answers import Refusal
from tests.minio_double.calls import Call
from tests.minio_double.clock import http_date
from tests.minio_double.state import State
from tests.minio_double.storage import Entry

_SOURCE = "x-amz-copy-source-"


def validators(entry: Entry) -> dict[str, str]:
    """The headers by which a client can tell one state of an object from another."""
    return {"ETag": f'"{entry.etag}"', "Last-Modified": http_date(entry.modified)}


def check_write(state: State, call: Call, entry: Entry | None) -> None:
    """Whether a PUT or a complete may happen. Older servers ignore `*`; one release fails on every missing key."""
    wanted, unwanted = call.headers.get("If-Match"), call.headers.get("If-None-Match")
    if wanted is None and unwanted is None:
        return
    if state.faults.ignores_conditions():
        unwanted = None if unwanted == "*" else unwanted
        wanted = wanted if entry else None
    if entry is None:
        if wanted is not None or state.faults.conditional == "404":
            raise Refusal("NoSuchKey")
        return
    _match(entry, wanted, unwanted)


def check_source(call: Call, entry: Entry) -> None:
    """The conditions of a copy: those on its source. Those on its destination are ignored."""
    _match(
        entry,
        call.headers.get(f"{_SOURCE}if-match"),
        call.headers.get(f"{_SOURCE}if-none-match"),
        key=entry.key,
    )
    since, until = (call.headers.get(f"{_SOURCE}if-{name}-since") for name in ("modified", "unmodified"))
    if not _newer(entry, since, otherwise=True) or _newer(entry, until, otherwise=False):
        raise Refusal("PreconditionFailed", key=entry.key, headers=validators(entry))


def is_unmodified(headers: Mapping[str, str], entry: Entry) -> bool:
    """Whether a read is answered by 304; raises Refusal(PreconditionFailed) where it is 412."""
    _match(entry, headers.get("If-Match"), None)
    if "If-Match" not in headers and _newer(entry, headers.get("If-Unmodified-Since"), otherwise=False):
        raise Refusal("PreconditionFailed", headers=validators(entry))
    if (unwanted := headers.get("If-None-Match")) is not None:
        return _names(unwanted, entry)
    return not _newer(entry, headers.get("If-Modified-Since"), otherwise=True)


def _match(entry: Entry, wanted: str | None, unwanted: str | None, *, key: str | None = None) -> None:
    mismatch = wanted is not None and not _names(wanted, entry)
    if mismatch or (unwanted is not None and _names(unwanted, entry)):
        raise Refusal("PreconditionFailed", key=key, headers=validators(entry))


def _names(etags: str, entry: Entry) -> bool:
    return etags == "*" or entry.etag in {etag.strip().strip('"') for etag in etags.split(",")}


def _newer(entry: Entry, stamp: str | None, *, otherwise: bool) -> bool:
    """Whether an object is newer than a date in a header; `otherwise` when there is none, or none that can be read."""
    if stamp is None:
        return otherwise
    try:
        moment: datetime = parsedate_to_datetime(stamp)
    except ValueError:
        return otherwise
    return entry.modified - moment >= timedelta(seconds=1)
