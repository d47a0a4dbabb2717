"""Objects: put, get, head, delete, copy and tag, each as a function from a call to its answer."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import parse_qsl, unquote

from tests.minio_double.answers import Answer, Refusal, document, parse_xml, tag, xml_answer
from tests.minio_double.calls import COPY, Call
from tests.minio_double.clock import iso_date
from tests.minio_double.conditions import check_source, check_write, is_unmodified, validators
from tests.minio_double.records import Dialect, Happening
from tests.minio_double.rules import check_digests, check_key
from tests.minio_double.state import State
from tests.minio_double.storage import Entry

_KEPT = ("content-type", "content-encoding", "content-disposition", "content-language", "cache-control", "expires")


def kept_headers(call: Call) -> dict[str, str]:
    """The headers that are stored with an object; aws-chunked is a framing, not an encoding."""
    found = {name.lower(): value for name, value in call.headers.items()}
    kept = {name: value for name, value in found.items() if name in _KEPT or name.startswith("x-amz-meta-")}
    if encoding := kept.pop("content-encoding", ""):
        rest = [part for part in encoding.split(",") if part.strip() != "aws-chunked"]
        kept |= {"content-encoding": ",".join(rest)} if rest else {}
    return kept


def existing(state: State, call: Call) -> Entry | None:
    """The object that a call is about, as far as writers are concerned: a delete marker is none."""
    entry = state.storage.find(call.bucket, call.key)
    return None if entry is None or entry.marker else entry


def readable(state: State, bucket: str, key: str, version: str = "") -> Entry:
    """The object that a call is about; raises Refusal where there is none to read."""
    entry = state.storage.find(bucket, key, version)
    if entry is None:
        raise Refusal("NoSuchVersion" if version else "NoSuchKey", key=key)
    if entry.marker:
        headers = {"x-amz-delete-marker": "true", "x-amz-version-id": entry.version or ""}
        raise Refusal("MethodNotAllowed" if version else "NoSuchKey", key=key, headers=headers)
    return entry


def versioned(entry: Entry) -> dict[str, str]:
    return {"x-amz-version-id": entry.version} if entry.version else {}


def put_object(state: State, call: Call) -> Answer:
    state.storage.bucket(call.bucket)
    check_key(call.key)
    check_digests(call, call.body)
    check_write(state, call, existing(state, call))
    entry = state.storage.put(call.bucket, call.key, call.body, kept_headers(call))
    if tags := dict(parse_qsl(call.headers.get("x-amz-tagging", ""))):
        state.storage.tag(call.bucket, call.key, tags)
    happening = _created("Put", call, entry)
    return Answer(headers={"ETag": f'"{entry.etag}"', **versioned(entry)}, happened=(happening,))


def _created(name: str, call: Call, entry: Entry, *, told: bool = False) -> Happening:
    return Happening(
        name=f"s3:ObjectCreated:{name}",
        bucket=call.bucket,
        key=call.key,
        entry=entry,
        version=entry.version,
        told=told,
    )


def get_object(state: State, call: Call) -> Answer:
    answer = head_object(state, call)
    happened = tuple(replace(happening, name="s3:ObjectAccessed:Get") for happening in answer.happened)
    if answer.status != 200:
        return replace(answer, happened=happened)
    body = state.storage.body(call.bucket, call.key, call.arg("versionId"))
    first, last = _range(call.headers.get("Range"), len(body))
    if (first, last) == (0, len(body)):
        return replace(answer, body=body, length=None, happened=happened)
    headers = {**answer.headers, "Content-Range": f"bytes {first}-{last - 1}/{len(body)}"}
    return Answer(status=206, headers=headers, body=body[first:last], happened=happened)


def head_object(state: State, call: Call) -> Answer:
    check_key(call.key)
    entry = readable(state, call.bucket, call.key, call.arg("versionId"))
    event = replace(_created("", call, entry), name="s3:ObjectAccessed:Head")
    if is_unmodified(call.headers, entry):
        return Answer(status=304, headers=validators(entry), happened=(event,))
    overrides = {name.removeprefix("response-"): value for name, value in call.query if name.startswith("response-")}
    tagged = {"x-amz-tagging-count": str(entry.tags)} if entry.tags else {}
    headers = {**entry.headers, **validators(entry), **versioned(entry), **tagged, **overrides}
    return Answer(headers=headers, length=entry.size, happened=(event,))


def _range(header: str | None, size: int) -> tuple[int, int]:
    """The first byte wanted, and the one after the last; a range that makes no sense is ignored."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not found or not any(found.groups()):
        return 0, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    if int(first) >= size or (last and int(last) < int(first)):
        raise Refusal("InvalidRange")
    return int(first), min(size, int(last or size) + 1)


def delete_object(state: State, call: Call) -> Answer:
    """DELETE asks no questions: If-Match is ignored, and a key that never was is deleted, too."""
    state.storage.bucket(call.bucket)
    check_key(call.key)
    version = call.arg("versionId")
    gone = state.storage.delete(call.bucket, call.key, version)
    headers = {"x-amz-version-id": gone.version} if gone and gone.version else {}
    if gone and gone.marker:
        headers["x-amz-delete-marker"] = "true"
    return Answer(status=204, headers=headers, happened=(removed(call.bucket, call.key, gone, version),))


def removed(bucket: str, key: str, gone: Entry | None, version: str, *, many: bool = False) -> Happening:
    """The event of a deletion. `many`: within a multi-object delete, where nothing tells whether anything was there."""
    kind = "NoOP" if gone is None and not many else "Delete"
    if gone is not None and gone.marker and not version:
        kind = "DeleteMarkerCreated"
    found = gone.version if gone else None
    return Happening(name=f"s3:ObjectRemoved:{kind}", bucket=bucket, key=key, version=found, told=kind != "NoOP")


def delete_objects(state: State, call: Call) -> Answer:
    state.storage.bucket(call.bucket)
    root = parse_xml(call.body)
    if not any(name.lower().startswith(("content-md5", "x-amz-checksum-")) for name in call.headers):
        raise Refusal("MissingContentMD5")
    check_digests(call, call.body)
    wanted = [(item.findtext("Key", ""), item.findtext("VersionId", "")) for item in root.iter("Object")]
    if not 0 < len(wanted) <= 1000:
        raise Refusal("MalformedXML")
    lines: list[str] = []
    happened: list[Happening] = []
    for key, version in wanted:
        try:
            check_key(key)
            if not state.allows(call, "s3:DeleteObject", call.bucket, key):
                raise Refusal("AccessDenied")
        except Refusal as refusal:
            lines.append(tag("Error", tag("Code", refusal.code), tag("Message", refusal.message), tag("Key", key)))
            continue
        gone = state.storage.delete(call.bucket, key, version)
        happened.append(removed(call.bucket, key, gone, version, many=True))
        lines += [] if root.findtext("Quiet") == "true" else [_deleted(key, version, gone)]
    return xml_answer(document("DeleteResult", *lines), happened=tuple(happened))


def _deleted(key: str, version: str, gone: Entry | None) -> str:
    parts = [tag("Key", key)] + ([tag("VersionId", version)] if version else [])
    if gone and gone.marker:
        parts += [tag("DeleteMarker", "true"), tag("DeleteMarkerVersionId", gone.version or "")]
    return tag("Deleted", *parts)


def source_of(state: State, call: Call) -> Entry:
    """What a copy reads, with its conditions checked. The bucket is `source_bucket`, the version is in the entry."""
    bucket, key, version = source_place(call)
    if not state.allows(call, "s3:GetObject", bucket, key):
        raise Refusal("AccessDenied")
    entry = readable(state, bucket, key, version)
    check_source(call, entry)
    return entry


def source_place(call: Call) -> tuple[str, str, str]:
    """Bucket, key and version of a copy's source."""
    path, _, version = call.headers[COPY].partition("?versionId=")
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    if not key:
        raise Refusal("InvalidRequest", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey.")
    return bucket, key, version


def copy_object(state: State, call: Call) -> Answer:
    """COPY honours the conditions on its source, and ignores those on its destination (RustFS does not)."""
    state.storage.bucket(call.bucket)
    check_key(call.key)
    source = source_of(state, call)
    if state.faults.dialect is Dialect.RUSTFS:
        check_write(state, call, existing(state, call))
    bucket, key, version = source_place(call)
    fresh = call.headers.get("x-amz-metadata-directive", "COPY").upper() == "REPLACE"
    if (bucket, key) == (call.bucket, call.key) and not fresh and not version:
        raise Refusal("InvalidRequest", "This copy request is illegal because it changes nothing.")
    body = state.storage.body(bucket, key, version)
    entry = state.storage.put(call.bucket, call.key, body, kept_headers(call) if fresh else source.headers)
    result = document("CopyObjectResult", tag("LastModified", iso_date(entry.modified)), tag("ETag", f'"{entry.etag}"'))
    headers = {"ETag": f'"{entry.etag}"', **versioned(entry)}
    return xml_answer(result, headers=headers, happened=(_created("Copy", call, entry, told=True),))


def put_tagging(state: State, call: Call) -> Answer:
    entry = readable(state, call.bucket, call.key)
    root = parse_xml(call.body)
    tags = {item.findtext("Key", ""): item.findtext("Value", "") for item in root.iter("Tag")}
    state.storage.tag(call.bucket, call.key, tags)
    return Answer(headers=versioned(entry), happened=(_created("PutTagging", call, entry, told=True),))


def get_tagging(state: State, call: Call) -> Answer:
    readable(state, call.bucket, call.key)
    tags = state.storage.tags(call.bucket, call.key).items()
    lines = [tag("Tag", tag("Key", key), tag("Value", value)) for key, value in tags]
    return xml_answer(document("Tagging", tag("TagSet", *lines)))


def delete_tagging(state: State, call: Call) -> Answer:
    entry = readable(state, call.bucket, call.key)
    state.storage.tag(call.bucket, call.key, {})
    return Answer(status=204, happened=(_created("DeleteTagging", call, entry, told=True),))
