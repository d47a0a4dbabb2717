"""Recordings: what real servers answered, how two answers are compared, and which differences are accepted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Case = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "data" / "minio"
REFERENCE = "release-2025-10-15.jsonl"

# Headers by which a client tells answers apart; all others may differ without anyone noticing.
TELLING = frozenset(
    {"content-type", "etag", "content-range", "x-amz-version-id", "x-amz-delete-marker", "retry-after"}
    | {"x-minio-error-code"}
)
# What may differ from the recordings, and why. None of it is in events, listen, conditional writes, key rules or
# error codes; each entry is the name of a header or of an element in a body.
ACCEPTED: Mapping[str, str] = {
    "server": "aiohttp names a server in every response; MinIO's listen stream has no such header",
    "x-amz-checksum-crc64nvme": "needs a checksum that the standard library lacks; sent after copies, no client asks",
    "x-amz-checksum-type": "belongs to x-amz-checksum-crc64nvme",
    "x-minio-storage-class-defaults": "only on /minio/health/cluster, of a server with drives",
    "x-minio-write-quorum": "only on /minio/health/cluster, of a server with drives",
    "Buckets": "the recorded server had buckets of other recordings",
}
_MOVING = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z|(?<=<RequestId>)\w+|(?<=<UploadId>)\w+|(?<=<VersionId>)[\w-]+"
    r"|(?<=ContinuationToken>)[\w=/+]+(?=<)|http://127\.0\.0\.1:\d+|<Buckets>.*</Buckets>"
)


def load(name: str = REFERENCE) -> dict[str, Case]:
    """A recording's cases by their names, in order."""
    with (FOLDER / name).open(encoding="utf-8") as lines:
        return {case["case"]: case for case in map(json.loads, lines)}


def shape(case: Case) -> Case:
    """What a client can tell apart, without ids, times and free text."""
    if "request" not in case:
        return _counts(case)
    response = case["response"]
    code = re.search(r"<Code>(.*?)<", response.get("body") or "")
    headers = {name.lower() for name, _ in response["headers"] or []}
    found: Case = {
        "status": (response["status"] or "no answer").split()[1:2],
        "code": code[1] if code else None,
        "headers": sorted(TELLING & headers),
    }
    if "chunks" in response:
        lines = stream_lines(response["chunks"])
        found["events"] = [(event["eventName"], _key(event)) for line in lines for event in line["Records"] or []]
        found["pings"] = any(line["Records"] is None for line in lines)
    if "events" in case:
        found["events"] = [
            (event["eventName"], _key(event), sorted(event), sorted(event["s3"]["object"])) for event in case["events"]
        ]
    return found


def _counts(case: Case) -> Case:
    """Counted cases, without names, times, order under load, and how many pings there was time for."""
    loose = {"case", "note", "seconds", "arrivals_out_of_sequencer_order", "same_order_at_all_listeners"}
    return {name: bool(value) if "pings" in name else value for name, value in case.items() if name not in loose}


def stream_lines(chunks: list[Case]) -> list[Case]:
    """The whole lines of a recorded stream."""
    text = "".join(chunk["bytes"] for chunk in chunks)
    return [json.loads(line) for line in text.split("\n") if line.startswith("{") and line.endswith("}")]


def _key(event: Case) -> str:
    return str(event["s3"]["object"]["key"])


def text_of(case: Case) -> Case:
    """Everything that has no reason to differ: all header names, the body, and events with their values."""
    if "request" not in case:
        return {}
    response = case["response"]
    names = {name.lower() for name, _ in response["headers"] or []} - ACCEPTED.keys()
    return {
        "headers": sorted(names),
        "body": _MOVING.sub("…", response.get("body") or ""),
        "events": [_steady(event) for event in case.get("events", [])],
    }


def _steady(event: Case) -> Case:
    """An event without its ids, times and user."""
    found = event["s3"]["object"]
    return {
        "name": event["eventName"],
        "object": {name: value for name, value in found.items() if name not in {"sequencer", "versionId"}},
        "region": event["awsRegion"],
        "elements": sorted(event["responseElements"]),
        "parameters": sorted(event["requestParameters"]),
        "source": sorted(event["source"].items()),
    }
