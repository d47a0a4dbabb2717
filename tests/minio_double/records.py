"""Records: what a server says about something that happened, field by field, in each dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote_plus

from tests.minio_double.answers import DEPLOYMENT, NODE, Refusal
from tests.minio_double.clock import iso_date, nanoseconds
from tests.minio_double.storage import Entry

_GROUPS = {
    "s3:ObjectAccessed:*": ("Get", "GetRetention", "GetLegalHold", "Head", "Attributes"),
    "s3:ObjectCreated:*": (
        "CompleteMultipartUpload",
        "Copy",
        "Post",
        "Put",
        "PutRetention",
        "PutLegalHold",
        "PutTagging",
        "DeleteTagging",
    ),
    "s3:ObjectRemoved:*": ("Delete", "DeleteMarkerCreated", "NoOP", "DeleteAllVersions"),
    "s3:Replication:*": (
        "OperationFailedReplication",
        "OperationCompletedReplication",
        "OperationMissedThreshold",
        "OperationReplicatedAfterThreshold",
        "OperationNotTracked",
    ),
    "s3:ObjectRestore:*": ("Post", "Completed"),
    "s3:ObjectTransition:*": ("Failed", "Complete"),
    "s3:Scanner:*": ("ManyVersions", "LargeVersions", "BigPrefix"),
}
EVENTS: Mapping[str, frozenset[str]] = {
    name: frozenset(f"{name.removesuffix('*')}{part}" for part in parts) for name, parts in _GROUPS.items()
}
_SINGLE = {"s3:LifecycleDelMarkerExpiration:Delete", "s3:BucketCreated:*", "s3:BucketRemoved:*"}


class Dialect(StrEnum):
    """Whose manners the double has."""

    MINIO = "minio"  # the reference
    RUSTFS = "rustfs"  # listen with encoded keys, empty pings, headers at once, literal prefixes
    AWS = "aws"  # no listen: `?events` is a listing like any other
    OLD = "old"  # MinIO of 2023-03: `ping` and `If-None-Match: *` are ignored


@dataclass(frozen=True, kw_only=True)
class Happening:
    """What an operation did to a key. `entry` is the object as it is now; None when it is gone.

    `told`: the record says how long the response was (MinIO sends these after it).
    """

    name: str
    bucket: str
    key: str
    entry: Entry | None = None
    version: str | None = None
    told: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """Who caused it, and in which response."""

    user: str
    remote: str
    agent: str
    request_id: str
    length: int
    origin: str
    time: datetime


def expand(name: str) -> frozenset[str]:
    """The events behind a name in a subscription; raises Refusal(InvalidArgument) for one that does not exist."""
    if name in EVENTS:
        return EVENTS[name]
    if name in _SINGLE or any(name in group for group in EVENTS.values()):
        return frozenset({name})
    raise Refusal("InvalidArgument", "A specified event is not supported for notifications.")


def record(happening: Happening, source: Source, *, dialect: Dialect = Dialect.MINIO, escaped: bool) -> dict[str, Any]:
    """One element of `Records`. On a listen stream MinIO's keys are raw; everywhere else they are form-encoded."""
    person = {"principalId": source.user}
    elements = {
        "content-length": str(source.length),
        "x-amz-id-2": NODE,
        "x-amz-request-id": source.request_id,
        "x-minio-deployment-id": DEPLOYMENT,
        "x-minio-origin-endpoint": source.origin,
    }
    if not happening.told:
        del elements["content-length"]
    return {
        "eventVersion": "2.0",
        "eventSource": {Dialect.RUSTFS: "rustfs:s3", Dialect.AWS: "aws:s3"}.get(dialect, "minio:s3"),
        "awsRegion": "",
        "eventTime": iso_date(source.time),
        "eventName": happening.name.removeprefix("s3:" if dialect is Dialect.AWS else ""),
        "userIdentity": person,
        "requestParameters": {**person, "region": "", "sourceIPAddress": source.remote},
        "responseElements": elements,
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {
                "name": happening.bucket,
                "ownerIdentity": person,
                "arn": f"arn:aws:s3:::{happening.bucket}",
            },
            "object": _object(happening, source, escaped=escaped),
        },
        "source": {"host": source.remote, "port": "", "userAgent": source.agent},
    }


def _object(happening: Happening, source: Source, *, escaped: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"key": form_encoded(happening.key) if escaped else happening.key}
    if entry := happening.entry:
        found |= {"size": entry.size} if entry.size else {}
        found |= {"eTag": entry.etag, "contentType": entry.headers["content-type"]}
        found["userMetadata"] = dict(sorted((canonical(name), value) for name, value in entry.headers.items()))
    if happening.version:
        found["versionId"] = happening.version
    moment = happening.entry.modified if happening.entry else source.time
    return {**found, "sequencer": f"{nanoseconds(moment):X}"}


def canonical(name: str) -> str:
    """`x-amz-meta-job` as `X-Amz-Meta-Job`; standard headers stay in lower case."""
    return name.title() if name.startswith("x-amz-meta-") else name


def form_encoded(key: str) -> str:
    """Go's url.QueryEscape."""
    return quote_plus(key, safe="-_.~")


_GO_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPES = str.maketrans(_GO_ESCAPES)


def go_json(value: Any) -> bytes:
    """JSON as Go's encoder writes it: compact, with `<`, `>` and `&` escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_ESCAPES).encode("utf-8", "replace")
