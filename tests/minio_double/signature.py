"""Signatures: AWS SigV4 verified the way MinIO does it, in headers, in presigned URLs and in signed chunks."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from tests.minio_double.answers import Refusal
from tests.minio_double.calls import Call

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_SKEW = timedelta(minutes=15)
MAX_EXPIRY = 604_800


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Who signed a request, and what its signature says about the body."""

    user: str
    payload: str
    signature: str = ""
    stamp: str = ""
    scope: str = ""
    key: bytes = field(default=b"", repr=False)


def check_clock(call: Call, now: datetime) -> None:
    """MinIO looks at the date of a signed request before anything else about it."""
    if not call.headers.get("Authorization", "").startswith("AWS4"):
        return
    stamp = call.headers.get("x-amz-date") or call.headers.get("Date")
    if stamp is None:
        raise Refusal("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header", bare=True)
    if abs(now - _moment(stamp)) > MAX_SKEW:
        raise Refusal("RequestTimeTooSkewed", bare=True)


def prove(call: Call, *, secrets: Mapping[str, str], now: datetime) -> Proof | None:
    """Verify the signature of a request; None when it has none (anonymous). Raises Refusal."""
    if call.has("X-Amz-Credential") or call.has("X-Amz-Signature"):
        return _presigned(call, secrets, now)
    header = call.headers.get("Authorization")
    if header is None:
        return None
    if not header.startswith(ALGORITHM):
        raise Refusal("InvalidRequest", f"The authorization mechanism is not supported. Please use {ALGORITHM}.")
    fields = dict(part.strip().partition("=")[::2] for part in header.removeprefix(ALGORITHM).split(","))
    payload = call.headers.get("x-amz-content-sha256", EMPTY)
    stamp = call.headers.get("x-amz-date", "")
    try:
        scope, names, given = fields["Credential"], fields["SignedHeaders"].split(";"), fields["Signature"]
    except KeyError:
        raise Refusal("AuthorizationHeaderMalformed") from None
    return _verify(call, secrets, scope, stamp, names, given, payload, call.query)


def _presigned(call: Call, secrets: Mapping[str, str], now: datetime) -> Proof:
    needed = ("Algorithm", "Credential", "Signature", "Date", "SignedHeaders", "Expires")
    values = {name: call.arg(f"X-Amz-{name}") for name in needed}
    if not all(values.values()) or not values["Expires"].isdigit() or int(values["Expires"]) > MAX_EXPIRY:
        raise Refusal("AuthorizationQueryParametersError")
    age = now - _moment(values["Date"])
    if age > timedelta(seconds=int(values["Expires"])):
        raise Refusal("AccessDenied", "Request has expired")
    if -age > MAX_SKEW:
        raise Refusal("AccessDenied", "Request is not valid yet")
    payload = call.arg("X-Amz-Content-Sha256") or call.headers.get("x-amz-content-sha256") or UNSIGNED
    query = [(name, value) for name, value in call.query if name != "X-Amz-Signature"]
    names = values["SignedHeaders"].split(";")
    return _verify(call, secrets, values["Credential"], values["Date"], names, values["Signature"], payload, query)


def _verify(
    call: Call,
    secrets: Mapping[str, str],
    credential: str,
    stamp: str,
    names: list[str],
    given: str,
    payload: str,
    query: Iterable[tuple[str, str]],
) -> Proof:
    access, _, scope = credential.partition("/")
    parts = scope.split("/")
    if len(parts) != 4 or parts[2:] != ["s3", "aws4_request"]:
        raise Refusal("AuthorizationHeaderMalformed")
    if access not in secrets:
        raise Refusal("InvalidAccessKeyId")
    canonical = "\n".join(
        [call.method, quote(call.path, safe="-_.~/"), canonical_query(query), *_signed(call, names), payload]
    )
    text = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = signing_key(secrets[access], parts[0], parts[1])
    signature = _hmac(key, text).hex()
    if not hmac.compare_digest(signature.encode(), given.encode()):
        raise Refusal("SignatureDoesNotMatch")
    return Proof(user=access, payload=payload, signature=signature, stamp=stamp, scope=scope, key=key)


def _signed(call: Call, names: list[str]) -> list[str]:
    lines = []
    for name in names:
        if name.lower() not in call.headers:
            raise Refusal("AccessDenied", "There were headers present in the request which were not signed")
        lines.append(f"{name.lower()}:{' '.join(call.headers[name].split())}")
    return [*lines, "", ";".join(names)]


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """Names sorted, the values of one name in the order of the wire: what was sorted to sign must be sent sorted."""
    pairs = sorted(query, key=lambda pair: pair[0])
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)


def signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _moment(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(stamp).astimezone(UTC)
    except ValueError:
        raise Refusal("AccessDenied", "The provided date is malformed", bare=True) from None


def open_payload(proof: Proof | None, call: Call, body: bytes) -> bytes:
    """The object's bytes: taken out of aws-chunked framing, and compared with the hash that was signed."""
    payload = proof.payload if proof else call.headers.get("x-amz-content-sha256", UNSIGNED)
    if payload.startswith("STREAMING-"):
        return _unchunk(body, proof if payload.startswith(f"STREAMING-{ALGORITHM[:4]}") else None, call)
    if payload != UNSIGNED and proof and hashlib.sha256(body).hexdigest() != payload:
        raise Refusal("XAmzContentSHA256Mismatch")
    return body


def _unchunk(framed: bytes, proof: Proof | None, call: Call) -> bytes:
    parts: list[bytes] = []
    previous = proof.signature if proof else ""
    while True:
        head, found, framed = framed.partition(b"\r\n")
        size, _, extension = head.partition(b";")
        try:
            length = int(size, 16)
        except ValueError:
            raise Refusal("IncompleteBody") from None
        if not found or len(framed) < length:
            raise Refusal("IncompleteBody")
        chunk, framed = framed[:length], framed[length:].removeprefix(b"\r\n")
        if proof:
            previous = _chunk_signature(proof, previous, chunk)
            if extension.decode("latin-1") != f"chunk-signature={previous}":
                raise Refusal("SignatureDoesNotMatch")
        if not length:
            break
        parts.append(chunk)
    body = b"".join(parts)
    if call.headers.get("x-amz-decoded-content-length", str(len(body))) != str(len(body)):
        raise Refusal("IncompleteBody")
    return body


def _chunk_signature(proof: Proof, previous: str, chunk: bytes) -> str:
    lines = [f"{ALGORITHM}-PAYLOAD", proof.stamp, proof.scope, previous, EMPTY, hashlib.sha256(chunk).hexdigest()]
    return _hmac(proof.key, "\n".join(lines)).hex()
