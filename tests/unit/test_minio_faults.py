"""The table of foreign errors: complete, and every line with something to do."""

from __future__ import annotations

import inspect
import json
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from botocore import exceptions as botocore

from comfygen.errors import (
    ComfyGenError,
    KeyInvalid,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from comfygen.minio_client import faults
from comfygen.minio_client.faults import CODES, FOREIGN, KINDS, clock_offset, fault_of, status_error, translated

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data/minio_client/errors.json").read_text(encoding="utf-8")
)
NOW = datetime(2026, 11, 23, 9, 36, 50, tzinfo=UTC)


def error_for(status: int, code: str = "", *, date: str | None = None) -> ComfyGenError:
    return status_error(
        status, code=code, message="Text.", date=date, action="s3:PutObject", place="bucket/a.png", now=NOW
    )


def answer(status: int, code: str, headers: dict[str, str] | None = None) -> botocore.ClientError:
    meta = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    return botocore.ClientError({"Error": {"Code": code, "Message": ""}, "ResponseMetadata": meta}, "PutObject")


def exceptions_of(module: object, base: type[BaseException]) -> Iterator[type[BaseException]]:
    for _, kind in inspect.getmembers(module, inspect.isclass):
        if issubclass(kind, base):
            yield kind


@pytest.mark.parametrize("code", sorted({case["code"] for case in RECORDED}))
def test_every_recorded_error_code_has_its_line(code: str) -> None:
    """What a real MinIO was seen to answer is never guessed from the status."""
    assert code in CODES


@pytest.mark.parametrize(
    "kind",
    [
        *exceptions_of(botocore, botocore.BotoCoreError),
        *exceptions_of(aiohttp, aiohttp.ClientError),
        TimeoutError,
        ConnectionResetError,
        ssl.SSLError,
        socket.gaierror,
    ],
)
def test_every_exception_of_the_libraries_has_its_line(kind: type[BaseException]) -> None:
    """The table is complete: whatever botocore and aiohttp define is caught and becomes an error of ours."""
    assert issubclass(kind, FOREIGN)
    fault = next(fault for foreign, fault in KINDS if issubclass(kind, foreign))
    assert issubclass(fault.kind, StoreError)
    assert fault.hint


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (503, "SlowDownWrite", StoreUnavailable),
        (429, "TooManyRequests", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (503, "XMinioServerNotInitialized", StoreUnavailable),
        (507, "XMinioStorageFull", StoreFull),
        (400, "XMinioAdminBucketQuotaExceeded", StoreFull),
        (403, "AccessDenied", StoreDenied),
        (403, "InvalidAccessKeyId", StoreDenied),
        (403, "SignatureDoesNotMatch", StoreDenied),
        (404, "NoSuchKey", NoSuchKey),
        (404, "NoSuchBucket", NoSuchBucket),
        (412, "PreconditionFailed", PreconditionFailed),
        (400, "KeyTooLongError", KeyInvalid),
        (400, "XMinioInvalidObjectName", KeyInvalid),
        (400, "MetadataTooLarge", StoreError),
        (599, "NeverHeardOf", StoreUnavailable),
        (507, "NeverHeardOf", StoreFull),
        (429, "", StoreUnavailable),
        (403, "", StoreDenied),
        (404, "", faults.Unexplained),
        (418, "NeverHeardOf", StoreError),
    ],
)
def test_an_answer_becomes_its_error(status: int, code: str, expected: type[ComfyGenError]) -> None:
    """By its code; an unknown one by its status."""
    error = error_for(status, code)
    assert type(error) is expected
    assert "s3:PutObject of bucket/a.png failed" in str(error)


@pytest.mark.parametrize("kind", [StoreUnavailable, StoreFull, StoreDenied, NoSuchBucket])
def test_errors_that_people_can_mend_say_how(kind: type[StoreError]) -> None:
    """Each line of the table for such an error ends in a hint."""
    codes = [code for code, fault in CODES.items() if fault.kind is kind]
    assert codes
    assert [code for code in codes if not error_for(400, code).hint] == []


def test_a_denial_names_the_missing_action() -> None:
    """403 says which permission to grant on what."""
    hint = error_for(403, "AccessDenied").hint
    assert (
        hint == "The access key may not do s3:PutObject on bucket/a.png: allow it in the user's policy on the server."
    )


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Mon, 23 Nov 2026 09:56:53 GMT", "This machine's clock is 20 min 3 s behind the server's."),
        ("Mon, 23 Nov 2026 09:36:10 GMT", "This machine's clock is 40 s ahead of the server's."),
        ("Mon, 23 Nov 2026 09:36:50 -0000", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_the_offset_of_a_clock_is_measured(date: str | None, expected: str | None) -> None:
    """From the `Date` of the answer."""
    assert clock_offset(date, NOW) == expected


def test_a_wrong_clock_is_told_with_its_offset() -> None:
    """B7: the message says how wrong the clock is."""
    error = error_for(403, "RequestTimeTooSkewed", date="Mon, 23 Nov 2026 09:56:50 GMT")
    assert (type(error), str(error.hint).startswith("This machine's clock is 20 min 0 s behind")) == (StoreDenied, True)


def test_the_reason_of_a_head_is_in_its_header() -> None:
    """HEAD has no body: botocore only knows the status, MinIO's header the reason."""
    with pytest.raises(NoSuchBucket), translated("s3:GetObject", "a"):
        raise answer(404, "404", {"x-minio-error-code": "NoSuchBucket"})


@pytest.mark.parametrize(
    ("inner", "word"),
    [
        (socket.gaierror(-2, "Name or service not known"), "resolve"),
        (ssl.SSLCertVerificationError("certificate verify failed"), "TLS"),
        (ConnectionRefusedError(111, "Connect call failed"), "Nothing listens"),
    ],
)
def test_what_lies_below_a_wrapped_error_decides(inner: Exception, word: str) -> None:
    """B21: DNS, TLS and a closed port all look alike to botocore, and each needs another remedy."""
    error = botocore.EndpointConnectionError(endpoint_url="https://minio.example", error=inner)
    assert word in str(fault_of(error).hint)


@pytest.mark.parametrize(
    "foreign",
    [
        answer(503, "SlowDown"),
        botocore.ReadTimeoutError(endpoint_url="http://minio.example", error="slow"),
        aiohttp.ClientPayloadError("cut"),
        TimeoutError(),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_foreign_leaves(foreign: Exception) -> None:
    """It is raised as one of ours, and the cause is kept."""
    with pytest.raises(StoreUnavailable, match="s3:GetObject of a failed") as raised, translated("s3:GetObject", "a"):
        raise foreign
    assert raised.value.__cause__ is foreign


def test_errors_of_our_own_pass_unchanged() -> None:
    """A StoreError inside is not wrapped again."""
    with pytest.raises(StoreFull), translated("s3:GetObject", "a"):
        raise StoreFull
