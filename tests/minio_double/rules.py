"""Rules: the names, limits and checksums that MinIO enforces before it stores anything."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import zlib
from collections.abc import Callable, Mapping

from tests.minio_double.answers import Refusal
from tests.minio_double.calls import Call

MAX_KEY, MAX_SEGMENT, MAX_USER_METADATA, MAX_HEADERS = 1024, 255, 2 * 1024, 8 * 1024
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_DOTS = (".", "..")


def check_request(call: Call) -> None:
    """What the server refuses before it looks at bucket and key: oversized headers, dot segments."""
    sizes = {name: len(name) + len(value) for name, value in call.headers.items()}
    ours = sum(size for name, size in sizes.items() if name.lower().startswith("x-amz-meta-"))
    if ours > MAX_USER_METADATA or sum(sizes.values()) > MAX_HEADERS:
        raise Refusal("MetadataTooLarge", bare=True)
    if has_dots(call.path) or any(has_dots(value) for _, value in call.query):
        raise Refusal("XMinioInvalidResourceName", bare=True)


def has_dots(path: str) -> bool:
    """Whether a path has a `.` or `..` segment; a backslash parts segments here, though it may be stored."""
    return any(segment.strip() in _DOTS for segment in re.split(r"[/\\]", path.lstrip("/\\")))


def check_bucket_name(name: str) -> None:
    odd = ".." in name or ".-" in name or "-." in name
    if odd or not _BUCKET.fullmatch(name) or _is_address(name):
        raise Refusal("InvalidBucketName", bare=True)


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def check_key(key: str) -> None:
    """Raise what MinIO answers to a key it will not store."""
    if len(key.encode("utf-8", "replace")) > MAX_KEY:
        raise Refusal("KeyTooLongError")
    if "//" in key or "\0" in key or any(len(part.encode("utf-8", "replace")) > MAX_SEGMENT for part in key.split("/")):
        raise Refusal("XMinioInvalidObjectName")


_CHECKSUMS: Mapping[str, Callable[[bytes], bytes]] = {
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body).digest(),
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
}


def check_digests(call: Call, body: bytes) -> None:
    """Content-MD5 and the x-amz-checksum-* that the standard library can compute."""
    if (given := call.headers.get("Content-MD5")) is not None:
        if len(digest := _decoded(given)) != 16:
            raise Refusal("InvalidDigest")
        if digest != hashlib.md5(body).digest():
            raise Refusal("BadDigest")
    for name, compute in _CHECKSUMS.items():
        if name in call.headers and _decoded(call.headers[name]) != compute(body):
            raise Refusal("XAmzContentChecksumMismatch")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
