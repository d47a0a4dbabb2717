"""Calls: requests as they came off the wire, and which S3 operation each one is."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_to_bytes

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from tests.minio_double.answers import Refusal

COPY = "x-amz-copy-source"
# Everything S3 can be asked about a bucket or object that this double does not do.
UNKNOWN = frozenset(
    {"accelerate", "acl", "analytics", "attributes", "cors", "encryption", "inventory", "legal-hold", "lifecycle"}
    | {"logging", "metrics", "object-lock", "ownershipControls", "publicAccessBlock", "replication", "requestPayment"}
    | {"restore", "retention", "select", "torrent", "website"}
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request. `path` and `query` are decoded, `target` is raw; the query keeps its order on the wire."""

    method: str
    target: str
    path: str
    bucket: str
    key: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    remote: str = "127.0.0.1"
    body: bytes = b""
    user: str | None = None

    def arg(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.query if key == name), default)

    def args(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.query)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What a request asks for, and the action that a policy must allow for it."""

    name: str
    action: str


def read_call(request: web.BaseRequest) -> Call:
    """The request line and headers as a Call; the body comes later, after the checks that need none."""
    raw, _, query = request.raw_path.partition("?")
    path = unquote_to_bytes(raw).decode("utf-8", "replace")
    bucket, _, key = path.removeprefix("/").partition("/")
    if key.startswith("/"):  # MinIO drops leading slashes, and tidies only such keys
        key = posixpath.normpath("/" + key.lstrip("/")).removeprefix("/") + ("/" if key.endswith("/") else "")
    return Call(
        method=request.method,
        target=request.raw_path,
        path=path,
        bucket=bucket,
        key=key,
        query=tuple(parse_qsl(query, keep_blank_values=True)),
        headers=CIMultiDictProxy(CIMultiDict(request.headers)),
        remote=request.remote or "127.0.0.1",
    )


_OBJECT = (
    ("PUT", ("tagging",), "PutObjectTagging", "s3:PutObjectTagging"),
    ("GET", ("tagging",), "GetObjectTagging", "s3:GetObjectTagging"),
    ("DELETE", ("tagging",), "DeleteObjectTagging", "s3:DeleteObjectTagging"),
    ("PUT", ("uploadId", "partNumber"), "UploadPart", "s3:PutObject"),
    ("GET", ("uploadId",), "ListParts", "s3:ListMultipartUploadParts"),
    ("DELETE", ("uploadId",), "AbortMultipartUpload", "s3:AbortMultipartUpload"),
    ("POST", ("uploads",), "CreateMultipartUpload", "s3:PutObject"),
    ("POST", ("uploadId",), "CompleteMultipartUpload", "s3:PutObject"),
    ("HEAD", (), "HeadObject", "s3:GetObject"),
    ("GET", (), "GetObject", "s3:GetObject"),
    ("PUT", (), "PutObject", "s3:PutObject"),
    ("DELETE", (), "DeleteObject", "s3:DeleteObject"),
)
_BUCKET = (
    ("GET", ("events",), "Listen", "s3:ListenBucketNotification"),
    ("GET", ("location",), "GetBucketLocation", "s3:GetBucketLocation"),
    ("GET", ("policy",), "GetBucketPolicy", "s3:GetBucketPolicy"),
    ("PUT", ("policy",), "PutBucketPolicy", "s3:PutBucketPolicy"),
    ("DELETE", ("policy",), "DeleteBucketPolicy", "s3:DeleteBucketPolicy"),
    ("GET", ("notification",), "GetBucketNotification", "s3:GetBucketNotification"),
    ("PUT", ("notification",), "PutBucketNotification", "s3:PutBucketNotification"),
    ("GET", ("versioning",), "GetBucketVersioning", "s3:GetBucketVersioning"),
    ("PUT", ("versioning",), "PutBucketVersioning", "s3:PutBucketVersioning"),
    ("GET", ("versions",), "ListObjectVersions", "s3:ListBucketVersions"),
    ("GET", ("uploads",), "ListMultipartUploads", "s3:ListBucketMultipartUploads"),
    ("GET", ("list-type",), "ListObjectsV2", "s3:ListBucket"),
    ("GET", (), "ListObjects", "s3:ListBucket"),
    ("POST", ("delete",), "DeleteObjects", "s3:DeleteObject"),
    ("HEAD", (), "HeadBucket", "s3:ListBucket"),
    ("PUT", (), "CreateBucket", "s3:CreateBucket"),
    ("DELETE", (), "DeleteBucket", "s3:DeleteBucket"),
)
_ROOT = (
    ("GET", ("events",), "Listen", "s3:ListenNotification"),
    ("GET", (), "ListBuckets", "s3:ListAllMyBuckets"),
)


def operation_of(call: Call) -> Operation:
    """The S3 operation; raises Refusal for what MinIO does not know, or this double does not do."""
    if not UNKNOWN.isdisjoint(name for name, _ in call.query):
        raise Refusal("NotImplemented")
    table = _OBJECT if call.key else _BUCKET if call.bucket else _ROOT
    for method, needs, name, action in table:
        if method == call.method and all(call.has(need) for need in needs):
            copied = COPY in call.headers and name in {"PutObject", "UploadPart"}
            return Operation(
                name={"PutObject": "CopyObject"}.get(name, f"{name}Copy") if copied else name, action=action
            )
    raise Refusal("MethodNotAllowed")
