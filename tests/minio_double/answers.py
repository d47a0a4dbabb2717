"""Answers: what the double says back, as values, with MinIO's table of errors and its XML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from tests.minio_double.calls import Call
    from tests.minio_double.records import Happening

XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
NODE = "7987905dee74cdeb212432486a178e511309594cee7cb75f892cd53e35f09ea4"
DEPLOYMENT = "00000000-0000-4000-8000-000000000000"
OWNER = "02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4"

_SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)
_QUERY_AUTH = (
    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
    "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
)
_NO_UPLOAD = (
    "The specified multipart upload does not exist. "
    "The upload ID may be invalid, or the upload may have been aborted or completed."
)
_BAD_PART = (
    "One or more of the specified parts could not be found. "
    "The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
)

ERRORS: Mapping[str, tuple[int, str]] = {
    "AccessDenied": (403, "Access Denied."),
    "AuthorizationHeaderMalformed": (400, "The authorization header is malformed."),
    "AuthorizationQueryParametersError": (400, _QUERY_AUTH),
    "BadDigest": (400, "The Content-Md5 you specified did not match what we received."),
    "BucketAlreadyOwnedByYou": (
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    ),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty"),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed object size."),
    "IncompleteBody": (400, "You did not provide the number of bytes specified by the Content-Length HTTP header."),
    "InternalError": (500, "We encountered an internal error, please try again."),
    "InvalidAccessKeyId": (403, "The Access Key Id you provided does not exist in our records."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidDigest": (400, "The Content-Md5 you specified is not valid."),
    "InvalidPart": (400, _BAD_PART),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidRequest": (400, "Invalid Request"),
    "KeyTooLongError": (400, "Your key is too long"),
    "MalformedPolicy": (400, "Policy has invalid resource."),
    "MalformedXML": (400, "The XML you provided was not well-formed or did not validate against our published schema."),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "MissingContentMD5": (400, "Missing required header for this request: Content-Md5."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchUpload": (404, _NO_UPLOAD),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NotImplemented": (501, "A header you provided implies functionality that is not implemented"),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "RequestTimeTooSkewed": (
        403,
        "The difference between the request time and the server's time is too large.",
    ),
    "ServiceUnavailable": (503, "The server is shutting down."),
    "SignatureDoesNotMatch": (403, _SIGNATURE),
    "SlowDown": (503, "Please reduce your request rate."),
    "SlowDownRead": (503, "Resource requested is unreadable, please reduce your request rate"),
    "SlowDownWrite": (503, "Resource requested is unwritable, please reduce your request rate"),
    "TooManyRequests": (429, "Please reduce your request rate"),
    "XAmzContentChecksumMismatch": (400, "The provided 'x-amz-checksum' header does not match what was computed."),
    "XAmzContentSHA256Mismatch": (
        400,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    ),
    "XMinioInvalidObjectName": (400, "Object name contains unsupported characters."),
    "XMinioInvalidResourceName": (400, 'Resource name contains bad components such as ".." or ".".'),
    "XMinioServerNotInitialized": (503, "Server not initialized yet, please try again."),
    "XMinioStorageFull": (507, "Storage backend has reached its minimum free drive threshold."),
}
_NUMBERS = {
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDownWrite",
    507: "XMinioStorageFull",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response, and what happened because of the request. `length` is what a HEAD says without sending it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    happened: tuple[Happening, ...] = ()
    code: str | None = None
    pooled: bool = True  # it took a place in the request pool, and says how many are left


class Refusal(Exception):
    """An error of the S3 protocol. `bare`: the router was never reached, so the XML names no bucket and no key."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        bare: bool = False,
    ) -> None:
        super().__init__(code)
        self.code, self.key, self.headers, self.bare = code, key, dict(headers or {}), bare
        self.status, standard = ERRORS[code]
        self.message = standard if message is None else message


def error_name(answer: int | str) -> str | None:
    """The error code behind `503` or `"SlowDownWrite"`; None for 200 and "ok"."""
    if answer in {200, "200", "ok"}:
        return None
    name = _NUMBERS[int(answer)] if str(answer).isdigit() else str(answer)
    if name not in ERRORS and name not in {"abort", "shutdown"}:
        raise ValueError(f"{name!r} is no error of this server")
    return name


def refuse(refusal: Refusal, call: Call, request_id: str) -> Answer:
    """The answer to a request that was refused; to a HEAD it has no body, so the reason is in headers."""
    headers = dict(refusal.headers)
    if refusal.status == 503:
        headers["Retry-After"] = "60"
    if call.method == "HEAD":
        headers |= {"x-minio-error-code": refusal.code, "x-minio-error-desc": f'"{refusal.message}"'}
        return Answer(status=refusal.status, headers=headers, length=0, code=refusal.code, pooled=not refusal.bare)
    key = refusal.key if refusal.key is not None else call.key
    where = [] if refusal.bare else [tag("Key", key) if key else "", tag("BucketName", call.bucket)]
    body = tag(
        "Error",
        tag("Code", refusal.code),
        tag("Message", refusal.message),
        *(part for part in where if part != tag("BucketName", "")),
        tag("Resource", call.path),
        tag("RequestId", request_id),
        tag("HostId", NODE),
    )
    answer = xml_answer(body, status=refusal.status, headers=headers, code=refusal.code)
    return replace(answer, pooled=not refusal.bare and not call.has("events"))


_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_GO_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
)


class Markup(str):
    """Text that is XML already."""

    __slots__ = ()


def tag(name: str, *content: str) -> Markup:
    """An element; plain text in it is escaped as Go's encoder does, Markup is taken as it is."""
    inner = "".join(part if isinstance(part, Markup) else escape(part) for part in content)
    return Markup(f"<{name}>{inner}</{name.split(' ', 1)[0]}>")


def escape(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text).translate(_GO_ESCAPES)


def document(name: str, *content: str) -> Markup:
    """An element in the S3 namespace."""
    return tag(f'{name} xmlns="{XMLNS}"', *content)


def xml_answer(
    body: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    happened: tuple[Happening, ...] = (),
    code: str | None = None,
) -> Answer:
    text = (DECLARATION + body).encode()
    headers = {"Content-Type": "application/xml", **(headers or {})}
    return Answer(status=status, headers=headers, body=text, happened=happened, code=code)


def parse_xml(body: bytes) -> ElementTree.Element:
    """The root of an XML body with all namespaces removed; raises Refusal(MalformedXML)."""
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError):
        raise Refusal("MalformedXML") from None
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
    return root
