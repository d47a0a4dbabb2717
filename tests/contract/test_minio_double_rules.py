"""The double's rules where the recordings are silent: signatures, policies, users, listings, multipart."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.minio_double import MinioDouble
from tests.minio_double.answers import Refusal
from tests.minio_double.listing import page_of
from tests.minio_double.names import Names
from tests.minio_double.policy import parse_policy
from tests.minio_double.rules import check_bucket_name, check_key, has_dots
from tests.minio_double.signature import EMPTY, signing_key
from tests.minio_double.wire import Signing, Wire, exchange


@pytest.fixture
async def double() -> AsyncIterator[MinioDouble]:
    async with MinioDouble() as double:
        await double.make_bucket("photos")
        yield double


@pytest.fixture
def wire(double: MinioDouble) -> Wire:
    return Wire(endpoint=double.endpoint)


def anonymous(double: MinioDouble) -> Wire:
    return Wire(endpoint=double.endpoint, signing=Signing(anonymous=True))


def presigned(double: MinioDouble, *, secret: str = "comfygen-secret", age: int = 0) -> str:
    """The target of a presigned GET that is valid for a minute from `age` seconds ago."""
    request = AWSRequest("GET", f"{double.endpoint}/photos/a%20b.png")
    signer = S3SigV4QueryAuth(Credentials("comfygen", secret), "s3", "us-east-1", expires=60)
    request.context["timestamp"] = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(request)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return str(request.url).removeprefix(double.endpoint)


@pytest.mark.parametrize(
    ("secret", "age", "error"),
    [
        ("comfygen-secret", 0, None),
        ("comfygen-secret", 120, "AccessDenied"),
        ("comfygen-secret", -1200, "AccessDenied"),
        ("wrong", 0, "SignatureDoesNotMatch"),
    ],
)
async def test_presigned_urls_are_verified(double: MinioDouble, secret: str, age: int, error: str | None) -> None:
    """A presigned URL works until it expires, not before its time, and not with another secret."""
    await Wire(endpoint=double.endpoint).call("PUT", "/photos/a b.png", b"x")
    target = presigned(double, secret=secret, age=age)
    answer = await exchange(double.endpoint, "GET", target, signing=Signing(anonymous=True))
    assert (answer.error, answer.body == b"x") == (error, error is None)


async def test_a_body_other_than_the_one_signed_is_refused(double: MinioDouble) -> None:
    """The hash that was signed must be that of the body, unless the signature says that it says nothing of it."""
    answers = []
    for payload in (hashlib.sha256(b"signed").hexdigest(), "UNSIGNED-PAYLOAD"):
        wire = Wire(endpoint=double.endpoint, signing=Signing(payload=payload))
        answers.append((await wire.call("PUT", "/photos/a", b"another")).error)
    assert answers == ["XAmzContentSHA256Mismatch", None]


def in_chunks(headers: dict[str, str], secret: str, *parts: bytes) -> bytes:
    """A body in aws-chunked framing, each chunk signed."""
    stamp = headers["X-Amz-Date"]
    key = signing_key(secret, stamp[:8], "us-east-1")
    previous = headers["Authorization"].rpartition("Signature=")[2]
    framed = b""
    for part in (*parts, b""):
        lines = [f"{stamp[:8]}/us-east-1/s3/aws4_request", previous, EMPTY, hashlib.sha256(part).hexdigest()]
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, *lines])
        previous = hmac.digest(key, text.encode(), "sha256").hex()
        framed += f"{len(part):x};chunk-signature={previous}\r\n".encode() + part + b"\r\n"
    return framed


@pytest.mark.parametrize(("secret", "error"), [("comfygen-secret", None), ("wrong", "SignatureDoesNotMatch")])
async def test_signed_chunks_are_verified(double: MinioDouble, wire: Wire, secret: str, error: str | None) -> None:
    """A streamed body is taken out of its chunks, each of which must be signed."""
    extra = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "8"}
    signing = Signing(payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    headers = signing.headers(double.endpoint, "PUT", "/photos/a", extra, b"")
    body = in_chunks(headers, secret, b"1234", b"5678")
    bare = Signing(anonymous=True)
    answer = await exchange(double.endpoint, "PUT", "/photos/a", headers=headers, body=body, signing=bare)
    stored = await wire.call("GET", "/photos/a")
    assert (answer.error, stored.body == b"12345678") == (error, error is None)
    assert stored.header("Content-Encoding") is None


async def test_a_checksum_trailer_is_not_part_of_the_object(double: MinioDouble, wire: Wire) -> None:
    """What newer SDKs send over TLS: unsigned chunks, and a checksum behind them."""
    signing = Signing(payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    body = b"4\r\n1234\r\n0\r\nx-amz-checksum-crc32:m+P/Sg==\r\n\r\n"
    sender = Wire(endpoint=double.endpoint, signing=signing)
    await sender.call("PUT", "/photos/a", body, headers={"Content-Encoding": "aws-chunked"})
    assert (await wire.call("GET", "/photos/a")).body == b"1234"


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(b"x").to_bytes(4, "big")).decode()}, None),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, "XAmzContentChecksumMismatch"),
        ({"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"x").digest()).decode()}, None),
        ({"Content-MD5": "short"}, "InvalidDigest"),
    ],
)
async def test_checksums_are_compared(wire: Wire, headers: dict[str, str], error: str | None) -> None:
    """A checksum in a header must be that of the body."""
    assert (await wire.call("PUT", "/photos/a", b"x", headers=headers)).error == error


async def test_users_may_do_what_they_may(double: MinioDouble, wire: Wire) -> None:
    """Someone who is not root needs an action, by name or by pattern; root passes even a Deny."""
    double.add_user("reader", "reader-secret", ["s3:Get*", "s3:ListBucket"])
    reader = Wire(endpoint=double.endpoint, signing=Signing(access="reader", secret="reader-secret"))
    await wire.call("PUT", "/photos/a", b"x")
    asked = [("GET", "/photos/a", ""), ("GET", "/photos", "list-type=2"), ("PUT", "/photos/a", ""), ("GET", "/", "")]
    answers = [await reader.call(method, path, query=query) for method, path, query in asked]
    assert [answer.error for answer in answers] == [None, None, "AccessDenied", "AccessDenied"]
    refused = await reader.call("GET", "/photos", query=reader.listen("photos", ping=1).target.partition("?")[2])
    assert refused.error == "AccessDenied"


async def test_a_policy_lets_anyone_list_and_listen(double: MinioDouble, wire: Wire) -> None:
    """Without a signature, the bucket's policy alone decides, and each action by itself."""
    bucket, objects = "arn:aws:s3:::photos", "arn:aws:s3:::photos/public/*"
    actions = [("s3:ListBucket", bucket), ("s3:ListenBucketNotification", bucket), ("s3:GetObject", objects)]
    statements = [
        {"Effect": "Allow", "Principal": "*", "Action": action, "Resource": resource} for action, resource in actions
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
    assert (await wire.call("PUT", "/photos", policy, query="policy=")).code == 204
    for key in ("public/a", "hidden"):
        await wire.call("PUT", f"/photos/{key}", b"x")
    nobody = anonymous(double)
    codes = [(await nobody.call("GET", path)).code for path in ("/photos", "/photos/public/a", "/photos/hidden")]
    assert codes == [200, 200, 403]
    assert (await nobody.call("PUT", "/photos/public/b", b"x")).code == 403


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"},
        {"Effect": "Maybe", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/*"},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/*"},
        {"Effect": "Allow", "Principal": "*", "Resource": "arn:aws:s3:::photos/*"},
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::others/*"},
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos"},
        {"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::photos/*"},
    ],
)
def test_policies_that_cannot_work_are_refused(statement: dict[str, str]) -> None:
    """No resource, a strange effect, nobody, nothing to do, another bucket, or an action for the wrong thing."""
    with pytest.raises(Refusal, match="MalformedPolicy"):
        parse_policy(json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode(), "photos")


@pytest.mark.parametrize("name", ["ab", "Upper", "under_score", "a..b", "-a-", "a.-b", "192.168.0.1", "x" * 64])
def test_bad_bucket_names_are_refused(name: str) -> None:
    """Buckets have 3 to 63 lower-case letters, digits, dots and hyphens, and are no addresses."""
    with pytest.raises(Refusal, match="InvalidBucketName"):
        check_bucket_name(name)


@pytest.mark.parametrize("key", ["a", "a/b.png", "ü" * 127, "/".join(["d" * 200] * 5), "a\\b", "a\x01", "folder/"])
def test_good_keys_pass(key: str) -> None:
    """A backslash, a control character and a trailing slash are stored as they are."""
    check_key(key)


@pytest.mark.parametrize(
    ("path", "found"), [("a/../b", True), ("a\\..\\b", True), ("a/ .. /b", True), ("a..b/c.", False), ("...", False)]
)
def test_dot_segments_are_seen(path: str, found: bool) -> None:
    """Dots are looked for between slashes of either kind."""
    assert has_dots(path) is found


_PATHS = st.lists(st.sampled_from(["a", "ab", "b", "ü", "!"]), min_size=1, max_size=4).map("/".join)
_KEYS = st.lists(_PATHS | _PATHS.map("{}/".format), max_size=12, unique=True)
_REPEATABLE = settings(max_examples=100, deadline=None, derandomize=True)


@_REPEATABLE
@given(
    keys=_KEYS,
    prefix=st.sampled_from(["", "a", "a/", "ü"]),
    limit=st.integers(1, 4),
    delimiter=st.sampled_from(["", "/"]),
)
def test_pages_join_to_the_whole_listing(keys: list[str], prefix: str, limit: int, delimiter: str) -> None:
    """Whatever the page size: every key and common prefix comes once, in order."""
    names, found, after = sorted(keys), [], ""
    while True:
        page = page_of(names, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        found += sorted([*page.keys, *page.prefixes])
        if page.more is None:
            break
        after = page.more
    below = [name for name in names if name.startswith(prefix)]
    cuts = {name: name.find(delimiter, len(prefix)) + 1 if delimiter else 0 for name in below}
    assert found == sorted({name[: cuts[name]] if cuts[name] else name for name in below})


@_REPEATABLE
@given(written=_KEYS, removed=_KEYS)
def test_hidden_keys_are_those_beneath_another(written: list[str], removed: list[str]) -> None:
    """Whatever is written and removed: a key is shown unless another key, followed by a slash, begins it."""
    names = Names(written[:4])
    for key in written:
        names.add(key)
    for key in removed:
        names.remove(key)
    keys = set(written) - set(removed)
    beneath = {key for key in keys for other in keys if key.startswith(f"{other}/") and key != f"{other}/"}
    assert names.shown == sorted(keys - beneath)


async def test_versions_are_kept(wire: Wire) -> None:
    """In a versioned bucket a delete lays a marker over old versions; without the marker all is as before."""
    enable = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    await wire.call("PUT", "/photos", enable, query="versioning=")
    first = (await wire.call("PUT", "/photos/a", b"1")).header("x-amz-version-id")
    await wire.call("PUT", "/photos/a", b"2")
    marker = (await wire.call("DELETE", "/photos/a")).header("x-amz-version-id")
    assert (await wire.call("GET", "/photos/a")).code == 404
    assert (await wire.call("GET", "/photos/a", query=f"versionId={first}")).body == b"1"
    await wire.call("DELETE", "/photos/a", query=f"versionId={marker}")
    assert (await wire.call("GET", "/photos/a")).body == b"2"


async def test_unfinished_uploads_are_listed_by_their_whole_key(wire: Wire) -> None:
    """MinIO lists all unfinished uploads, or those of one key, but none by a prefix of it."""
    for key in ("big.mp4", "bigger.mp4"):
        await wire.call("POST", f"/photos/{key}", query="uploads=")
    queries = ("uploads=", "prefix=big.mp4&uploads=", "prefix=big&uploads=")
    answers = [await wire.call("GET", "/photos", query=query) for query in queries]
    assert [answer.body.count(b"<Upload>") for answer in answers] == [2, 1, 0]


async def test_what_the_double_does_not_do_is_said(wire: Wire) -> None:
    """A sub-resource that is not there is 501, not something else by accident."""
    assert (await wire.call("GET", "/photos", query="lifecycle=")).error == "NotImplemented"
    assert (await wire.call("POST", "/photos")).error == "MethodNotAllowed"
