"""Storage: moto's S3 backend keeps buckets, objects, versions and uploads; what may be kept is decided elsewhere.

Moto runs in this process, without its HTTP server: every operation is one step of the event loop, so that a condition
and the write it guards cannot be parted, as under MinIO's lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from moto.s3 import exceptions as moto_errors
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, FakeMultipart, S3Backend

from tests.minio_double.answers import Refusal
from tests.minio_double.clock import Clock
from tests.minio_double.names import Names

DEFAULT_TYPE = "binary/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One version of an object. `headers` are what it was stored with; `marker` is a delete marker."""

    key: str
    etag: str = ""
    size: int = 0
    modified: datetime
    version: str | None = None
    marker: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: int = 0


class Storage:
    """The objects of one double. Buckets have names of their own in moto, whose table of names is one per process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moto = S3Backend("us-east-1", "123456789012")
        self._buckets: dict[str, FakeBucket] = {}
        self._names: dict[str, Names] = {}
        self._begun: dict[str, datetime] = {}

    def buckets(self) -> Iterator[tuple[str, datetime]]:
        return ((name, bucket.creation_date) for name, bucket in self._buckets.items())

    def create(self, bucket: str) -> None:
        self._buckets[bucket] = self._moto.create_bucket(f"double-{uuid4().hex}", "us-east-1")
        self._names[bucket] = Names()

    def has(self, bucket: str) -> bool:
        return bucket in self._buckets

    def bucket(self, name: str) -> FakeBucket:
        try:
            return self._buckets[name]
        except KeyError:
            raise Refusal("NoSuchBucket") from None

    def is_empty(self, bucket: str) -> bool:
        return not self.bucket(bucket).keys

    def drop(self, bucket: str) -> None:
        """Remove a bucket with all that is in it."""
        found = self._buckets.pop(bucket)
        self._names.pop(bucket)
        for versions in list(found.keys.lists()):
            for version in versions[1]:
                _dispose(version)
        for upload in found.multiparts.values():
            upload.dispose()
        found.keys.clear()
        self._moto.delete_bucket(found.name)

    def close(self) -> None:
        for bucket in list(self._buckets):
            self.drop(bucket)
        _forget()

    def versioning(self, bucket: str) -> str | None:
        return self.bucket(bucket).versioning_status

    def set_versioning(self, bucket: str, status: str) -> None:
        self._moto.put_bucket_versioning(self.bucket(bucket).name, status)

    def put(self, bucket: str, key: str, body: bytes, headers: Mapping[str, str]) -> Entry:
        stored = self._moto.put_object(self.bucket(bucket).name, key, body, disable_notification=True)
        return self._finished(bucket, stored, headers)

    def _finished(self, bucket: str, stored: FakeKey, headers: Mapping[str, str]) -> Entry:
        stored.last_modified = self._clock.now()
        stored.set_metadata({"content-type": DEFAULT_TYPE, **headers}, replace=True)
        _forget()
        self._names[bucket].add(stored.name)
        return self._entry(stored)

    def find(self, bucket: str, key: str, version: str = "") -> Entry | None:
        """The latest or the named version, delete markers included; None if there is none."""
        found = self._find(bucket, key, version)
        return None if found is None else self._entry(found)

    def _find(self, bucket: str, key: str, version: str = "") -> FakeKey | FakeDeleteMarker | None:
        versions = self.bucket(bucket).keys.getlist(key, [])
        if not version:
            return versions[-1] if versions else None
        return next((found for found in versions if found.version_id == version), None)

    def body(self, bucket: str, key: str, version: str = "") -> bytes:
        found = self._find(bucket, key, version)
        return bytes(found.value) if isinstance(found, FakeKey) else b""

    def _entry(self, found: FakeKey | FakeDeleteMarker) -> Entry:
        modified = found.last_modified.replace(tzinfo=UTC)
        version = None if found.version_id in {None, "null"} else str(found.version_id)
        if not isinstance(found, FakeKey):
            return Entry(key=found.name, modified=modified, version=version, marker=True)
        tags = self._moto.tagger.get_tag_dict_for_resource(found.arn)
        return Entry(
            key=found.name,
            etag=found.etag.strip('"'),
            size=found.size,
            modified=modified,
            version=version,
            headers=dict(found.metadata),
            tags=len(tags),
        )

    def delete(self, bucket: str, key: str, version: str = "") -> Entry | None:
        """Remove an object or a version, or lay a delete marker over it. Returns the marker laid, or what went."""
        found, before = self.bucket(bucket), self._find(bucket, key, version)
        if before is None:
            return None
        gone = self._entry(before)
        if found.is_versioned and not version:
            self._moto.delete_object(found.name, key)
            found.keys[key].last_modified = self._clock.now()
            self._names[bucket].remove(key)
            return self.find(bucket, key)
        rest = [kept for kept in found.keys.getlist(key) if kept is not before]
        _dispose(before)
        dict.__delitem__(found.keys, key)
        if rest:
            found.keys.setlist(key, rest)
        names = self._names[bucket]
        names.add(key) if rest and isinstance(rest[-1], FakeKey) else names.remove(key)
        return gone

    def names(self, bucket: str) -> list[str]:
        """The keys that a listing shows, in UTF-8 order."""
        self.bucket(bucket)
        return self._names[bucket].shown

    def versions(self, bucket: str, prefix: str) -> Iterator[tuple[Entry, bool]]:
        """Every version below a prefix, the newest of a key first, and whether it is the latest."""
        keys = self.bucket(bucket).keys
        for key in sorted(key for key in keys if key.startswith(prefix)):
            for place, version in enumerate(reversed(keys.getlist(key))):
                yield self._entry(version), place == 0

    def tag(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        found = self._find(bucket, key)
        if isinstance(found, FakeKey):
            self._moto.put_object_tagging(found, dict(tags))

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        found = self._find(bucket, key)
        return dict(self._moto.tagger.get_tag_dict_for_resource(found.arn)) if isinstance(found, FakeKey) else {}

    def begin_upload(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        metadata: Any = dict(headers)
        made = self._moto.create_multipart_upload(self.bucket(bucket).name, key, metadata, "STANDARD", {}, None, "", "")
        self._begun[made.id] = self._clock.now()
        return made.id

    def upload(self, bucket: str, key: str, upload: str) -> FakeMultipart:
        found = self.bucket(bucket).multiparts.get(upload)
        if found is None or found.key_name != key:
            raise Refusal("NoSuchUpload")
        return found

    def uploads(self, bucket: str) -> list[tuple[str, datetime, str]]:
        """Unfinished uploads: the key, when it was begun, its id."""
        found = self.bucket(bucket).multiparts.values()
        return sorted((upload.key_name, self._begun[upload.id], upload.id) for upload in found)

    def add_part(self, bucket: str, key: str, upload: str, number: int, body: bytes) -> str:
        part = self.upload(bucket, key, upload).set_part(number, body)
        return str(part.etag).strip('"')

    def finish_upload(self, bucket: str, key: str, upload: str, parts: list[tuple[int, str]]) -> Entry:
        headers = dict(self.upload(bucket, key, upload).metadata)
        try:
            stored = self._moto.complete_multipart_upload(self.bucket(bucket).name, upload, iter(parts))
        except moto_errors.EntityTooSmall:
            raise Refusal("EntityTooSmall") from None
        except (moto_errors.InvalidPart, moto_errors.MalformedXML):
            raise Refusal("InvalidPart") from None
        assert stored is not None
        return self._finished(bucket, stored, headers)

    def abort_upload(self, bucket: str, key: str, upload: str) -> None:
        self.upload(bucket, key, upload)
        self._moto.abort_multipart_upload(self.bucket(bucket).name, upload)


def _dispose(version: object) -> None:
    if isinstance(version, FakeKey):
        version.dispose()


def _forget() -> None:
    """Moto holds on to every object ever written, for a reset that we do not use."""
    for model in (FakeKey, FakeMultipart):
        vars(model)["instances_tracked"].clear()
