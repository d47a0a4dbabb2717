"""Multipart: uploads in parts."""

from __future__ import annotations

import re

from tests.minio_double.answers import OWNER, Answer, Refusal, document, parse_xml, tag, xml_answer
from tests.minio_double.calls import Call
from tests.minio_double.clock import iso_date
from tests.minio_double.conditions import check_write
from tests.minio_double.objects import existing, kept_headers, source_of, source_place, versioned
from tests.minio_double.records import Happening
from tests.minio_double.rules import check_digests, check_key
from tests.minio_double.state import State


def create(state: State, call: Call) -> Answer:
    state.storage.bucket(call.bucket)
    check_key(call.key)
    upload = state.storage.begin_upload(call.bucket, call.key, kept_headers(call))
    parts = (tag("Bucket", call.bucket), tag("Key", call.key), tag("UploadId", upload))
    return xml_answer(document("InitiateMultipartUploadResult", *parts))


def upload_part(state: State, call: Call) -> Answer:
    check_digests(call, call.body)
    return Answer(headers={"ETag": f'"{_add(state, call, call.body)}"'})


def upload_part_copy(state: State, call: Call) -> Answer:
    entry = source_of(state, call)
    body = state.storage.body(*source_place(call))
    if found := re.fullmatch(r"bytes=(\d+)-(\d+)", call.headers.get("x-amz-copy-source-range", "")):
        body = body[int(found[1]) : int(found[2]) + 1]
    etag = _add(state, call, body)
    parts = (tag("LastModified", iso_date(entry.modified)), tag("ETag", f'"{etag}"'))
    return xml_answer(document("CopyPartResult", *parts))


def _add(state: State, call: Call, body: bytes) -> str:
    number = call.arg("partNumber")
    if not number.isdigit() or not 1 <= int(number) <= 10_000:
        raise Refusal("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    return state.storage.add_part(call.bucket, call.key, call.arg("uploadId"), int(number), body)


def complete(state: State, call: Call) -> Answer:
    """The second time, the upload is not there any more: NoSuchUpload."""
    upload = state.storage.upload(call.bucket, call.key, call.arg("uploadId"))
    root = parse_xml(call.body)
    parts = [(int(part.findtext("PartNumber", "0")), part.findtext("ETag", "")) for part in root.iter("Part")]
    if not parts:
        raise Refusal("MalformedXML")
    check_write(state, call, existing(state, call))
    entry = state.storage.finish_upload(call.bucket, call.key, upload.id, parts)
    etag = f'"{entry.etag}"'
    body = document(
        "CompleteMultipartUploadResult",
        tag("Location", f"{state.origin}/{call.bucket}/{call.key}"),
        tag("Bucket", call.bucket),
        tag("Key", call.key),
        tag("ETag", etag),
    )
    happening = Happening(
        name="s3:ObjectCreated:CompleteMultipartUpload",
        bucket=call.bucket,
        key=call.key,
        entry=entry,
        version=entry.version,
        told=True,
    )
    return xml_answer(body, headers={"ETag": etag, **versioned(entry)}, happened=(happening,))


def abort(state: State, call: Call) -> Answer:
    state.storage.abort_upload(call.bucket, call.key, call.arg("uploadId"))
    return Answer(status=204)


def list_parts(state: State, call: Call) -> Answer:
    upload = state.storage.upload(call.bucket, call.key, call.arg("uploadId"))
    lines = [
        tag(
            "Part",
            tag("PartNumber", str(number)),
            tag("LastModified", iso_date(part.last_modified)),
            tag("ETag", part.etag),
            tag("Size", str(part.size)),
        )
        for number, part in sorted(upload.parts.items())
    ]
    head = (tag("Bucket", call.bucket), tag("Key", call.key), tag("UploadId", upload.id), tag("MaxParts", "10000"))
    return xml_answer(document("ListPartsResult", *head, tag("IsTruncated", "false"), *lines))


def list_uploads(state: State, call: Call) -> Answer:
    """Uploads that were never finished. A prefix must be the whole key, else MinIO finds none (read in its source)."""
    prefix = call.arg("prefix")
    lines = [
        tag(
            "Upload",
            tag("Key", key),
            tag("UploadId", upload),
            tag("Owner", tag("ID", OWNER), tag("DisplayName", "minio")),
            tag("StorageClass", "STANDARD"),
            tag("Initiated", iso_date(begun)),
        )
        for key, begun, upload in state.storage.uploads(call.bucket)
        if prefix in {"", key}
    ]
    head = (tag("Bucket", call.bucket), tag("Prefix", prefix), tag("MaxUploads", "10000"))
    return xml_answer(document("ListMultipartUploadsResult", *head, tag("IsTruncated", "false"), *lines))
