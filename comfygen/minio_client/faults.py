"""What a server or the network says, as errors of ours: one table, each line with its remedy.

Foreign exceptions never leave this package: every call to the server stands inside `translated`.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from botocore import exceptions as botocore
from botocore.parsers import ResponseParserError

from comfygen.errors import (
    ComfyGenError,
    KeyInvalid,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
    Problem,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from comfygen.minio_client.settings import utc_now

BUSY = "It is tried again by itself."
KEYS = "Check access_key and secret_key."
SPACE = "Free some space on the server, or raise the bucket's quota; everything waits in the spool meanwhile."
REGION = "Set store.region to the region of the bucket."
BUG = "This is a mistake of ComfyGen; please report it."


class NoSuchUpload(StoreError):
    """The multipart upload is unknown: completed, aborted or swept."""

    code = "no_such_upload"


class Unexplained(NoSuchKey):
    """There is nothing, and the server does not say whether the object or the bucket is missing."""


class NoSuchPolicy(StoreError):
    """The bucket has no policy."""

    code = "no_such_policy"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What one kind of answer becomes."""

    kind: type[ComfyGenError]
    hint: str | None = None


def _each(codes: str, kind: type[ComfyGenError], hint: str | None = None) -> dict[str, Fault]:
    return dict.fromkeys(codes.split(), Fault(kind=kind, hint=hint))


CODES: Mapping[str, Fault] = {
    **_each("SlowDown SlowDownRead SlowDownWrite ServerBusy ServiceUnavailable", StoreUnavailable, BUSY),
    **_each("InternalError OperationTimedOut RequestTimeout OperationAborted", StoreUnavailable, BUSY),
    **_each("TooManyRequests TooManyRequestsException Throttling ThrottlingException", StoreUnavailable, BUSY),
    **_each("RequestLimitExceeded BandwidthLimitExceeded ClientDisconnected", StoreUnavailable, BUSY),
    **_each("ConditionalRequestConflict IncompleteBody XMinioBackendDown", StoreUnavailable, BUSY),
    **_each("BadDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch", StoreUnavailable, "Damaged on its way."),
    **_each("XMinioServerNotInitialized XMinioIAMNotInitialized", StoreUnavailable, "The server is starting."),
    **_each("XMinioBucketMetadataNotInitialized", StoreUnavailable, "The server is starting."),
    **_each("XMinioStorageFull InsufficientStorage XMinioAdminBucketQuotaExceeded", StoreFull, SPACE),
    **_each("QuotaExceeded XMinioDiskFull", StoreFull, SPACE),
    **_each("AccessDenied AllAccessDisabled AccountProblem NotSignedUp Forbidden", StoreDenied),
    **_each("InvalidAccessKeyId InvalidClientTokenId", StoreDenied, f"The server knows no such access key. {KEYS}"),
    **_each("SignatureDoesNotMatch", StoreDenied, f"The secret key is wrong, or a proxy changes requests. {KEYS}"),
    **_each("ExpiredToken InvalidToken TokenRefreshRequired RequestExpired", StoreDenied, "Get new credentials."),
    **_each("AuthorizationHeaderMalformed AuthorizationQueryParametersError", StoreDenied, REGION),
    **_each("MissingSecurityHeader AuthorizationHeaderMissing CredentialsNotSupported", StoreDenied, KEYS),
    **_each("RequestTimeTooSkewed", StoreDenied, "Set this machine's clock (or the server's) right, with NTP."),
    **_each("NoSuchKey NoSuchVersion", NoSuchKey),
    **_each("NoSuchBucket", NoSuchBucket, "Make it with `comfygen bucket setup`, or mend store.bucket."),
    **_each("NoSuchUpload", NoSuchUpload),
    **_each("NoSuchBucketPolicy", NoSuchPolicy),
    **_each("PreconditionFailed", PreconditionFailed),
    **_each("KeyTooLongError XMinioInvalidObjectName XMinioInvalidResourceName InvalidURI", KeyInvalid),
    **_each("XMinioParentIsObject XMinioObjectExistsAsDirectory", KeyInvalid, "A key is the folder of another."),
    **_each("MetadataTooLarge", StoreError, "Object metadata has room for 2 kB; the rest belongs in the sidecar."),
    **_each("InvalidBucketName BucketAlreadyExists", StoreError, "Choose another name in store.bucket."),
    **_each("BucketAlreadyOwnedByYou BucketNotEmpty MalformedPolicy MalformedXML", StoreError),
    **_each("NotImplemented MethodNotAllowed", StoreError, "This server lacks that function."),
    **_each("PermanentRedirect TemporaryRedirect IllegalLocationConstraintException", StoreError, REGION),
    **_each("EntityTooLarge EntityTooSmall InvalidPart InvalidPartOrder MissingContentLength", StoreError, BUG),
    **_each("InvalidArgument InvalidRequest InvalidRange UnsupportedHeader", StoreError, BUG),
}
STATUSES: Mapping[int, Fault] = {
    401: Fault(kind=StoreDenied, hint=KEYS),
    403: Fault(kind=StoreDenied),
    404: Fault(kind=Unexplained),
    408: Fault(kind=StoreUnavailable, hint=BUSY),
    409: Fault(kind=StoreUnavailable, hint=BUSY),
    412: Fault(kind=PreconditionFailed),
    429: Fault(kind=StoreUnavailable, hint=BUSY),
    507: Fault(kind=StoreFull, hint=SPACE),
}
REFUSED = Fault(kind=StoreUnavailable, hint="Nothing listens there: is the server running, and store.endpoint right?")
DNS = Fault(kind=StoreUnavailable, hint="The name does not resolve: check store.endpoint and this machine's DNS.")
TLS = Fault(
    kind=StoreUnavailable,
    hint="TLS failed: is it https, is the certificate valid, is its authority trusted (AWS_CA_BUNDLE)?",
)
SLOW = Fault(kind=StoreUnavailable, hint="It does not answer in time: overloaded, or a firewall drops packets.")
CUT = Fault(kind=StoreUnavailable, hint="It closed the connection. It is tried again by itself.")
STRANGE = Fault(
    kind=StoreUnavailable, hint="What answers there is no S3 server: check store.endpoint (the API's port)."
)
CREDENTIALS = Fault(kind=StoreDenied, hint="Set store.access_key and store.secret_key.")
LOCAL = Fault(kind=StoreError, hint=BUG)

# The first that fits wins, so the particular stand before the general. A cause within an exception counts as well.
CAUSES: tuple[tuple[type[BaseException], Fault], ...] = (
    (aiohttp.ClientConnectorDNSError, DNS),
    (socket.gaierror, DNS),
    (botocore.SSLError, TLS),
    (aiohttp.ClientSSLError, TLS),
    (ssl.SSLError, TLS),
    (ConnectionRefusedError, REFUSED),
)
KINDS: tuple[tuple[type[BaseException], Fault], ...] = (
    *CAUSES,
    (botocore.NoCredentialsError, CREDENTIALS),
    (botocore.PartialCredentialsError, CREDENTIALS),
    (botocore.CredentialRetrievalError, CREDENTIALS),
    (botocore.ConnectTimeoutError, SLOW),
    (botocore.ReadTimeoutError, SLOW),
    (botocore.ConnectionClosedError, CUT),
    (botocore.ResponseStreamingError, CUT),
    (botocore.IncompleteReadError, CUT),
    (botocore.EndpointConnectionError, REFUSED),
    (botocore.HTTPClientError, CUT),
    (ResponseParserError, STRANGE),
    (KeyError, STRANGE),  # an answer without what every S3 server sends, such as a web page with status 200
    (json.JSONDecodeError, STRANGE),
    (botocore.BotoCoreError, LOCAL),
    (TimeoutError, SLOW),
    (aiohttp.ContentTypeError, STRANGE),
    (aiohttp.ClientResponseError, STRANGE),
    (aiohttp.ClientConnectorError, REFUSED),
    (aiohttp.ClientError, CUT),
    (OSError, CUT),
)
FOREIGN = (botocore.ClientError, *(kind for kind, _ in KINDS))


@contextmanager
def translated(action: str, place: str) -> Iterator[None]:
    """Turn every foreign exception into one of ours. `action` is the S3 action ("s3:PutObject"), `place` its object."""
    try:
        yield
    except botocore.ClientError as exc:
        raise answer_error(exc, action=action, place=place) from exc
    except FOREIGN as exc:
        fault = fault_of(exc)
        raise fault.kind(f"{action} of {place} failed: {_innermost(exc)}.", hint=fault.hint) from exc


def fault_of(error: BaseException) -> Fault:
    """The line of the table for an exception, looking at its causes first: botocore wraps what really happened."""
    chain = list(_chain(error))
    for kind, fault in CAUSES:
        if any(isinstance(link, kind) for link in chain):
            return fault
    return next((fault for kind, fault in KINDS if isinstance(error, kind)), CUT)


def answer_error(error: botocore.ClientError, *, action: str, place: str) -> ComfyGenError:
    """The error for an answer of the server that is no success."""
    meta = error.response.get("ResponseMetadata", {})
    said = error.response.get("Error", {})
    headers = {name.lower(): text for name, text in meta.get("HTTPHeaders", {}).items()}
    # HEAD has no body: MinIO tells the reason in a header.
    code = headers.get("x-minio-error-code") or str(said.get("Code", ""))
    return status_error(
        int(meta.get("HTTPStatusCode", 0)),
        code=code,
        message=str(said.get("Message", "")),
        date=headers.get("date"),
        action=action,
        place=place,
    )


def status_error(
    status: int, *, code: str, message: str, date: str | None, action: str, place: str, now: datetime | None = None
) -> ComfyGenError:
    """The error for a status and an S3 error code; a code that is not in the table goes by its status."""
    busy = Fault(kind=StoreUnavailable, hint=BUSY)
    fault = CODES.get(code) or STATUSES.get(status) or (busy if status >= 500 else Fault(kind=StoreError))
    reason = " ".join(part for part in (str(status), code if code != str(status) else "") if part)
    text = f"{action} of {place} failed: {reason}{f' ({message.rstrip(chr(46))})' if message else ''}."
    if fault.kind is KeyInvalid:
        return KeyInvalid(text, problems=[Problem(field="key", message=message or code)], hint=fault.hint)
    return fault.kind(text, hint=_hint(fault, code, action, place, date, now or utc_now()))


def _hint(fault: Fault, code: str, action: str, place: str, date: str | None, now: datetime) -> str | None:
    if code == "RequestTimeTooSkewed" and (offset := clock_offset(date, now)):
        return f"{offset} {fault.hint}"
    if fault.kind is StoreDenied and fault.hint is None:
        return f"The access key may not do {action} on {place}: allow it in the user's policy on the server."
    return fault.hint


def clock_offset(date: str | None, now: datetime) -> str | None:
    """How far this machine's clock is from the server's, by the `Date` of its answer."""
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    seconds = round((now - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))).total_seconds())
    if abs(seconds) < 2:
        return None
    minutes, rest = divmod(abs(seconds), 60)
    spoken = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"This machine's clock is {spoken} {'ahead of' if seconds > 0 else 'behind'} the server's."


def error_code(body: str) -> tuple[str, str]:
    """The code and message of an S3 error document, empty when there is none."""
    code = re.search(r"<Code>([^<]*)</Code>", body)
    message = re.search(r"<Message>([^<]*)</Message>", body)
    return code[1] if code else "", message[1] if message else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        inner = getattr(link, "kwargs", {}).get("error") or getattr(link, "os_error", None)
        link = inner if isinstance(inner, BaseException) else link.__cause__


def _innermost(error: BaseException) -> str:
    *_, last = _chain(error)
    return str(last).rstrip(".") or type(last).__name__
