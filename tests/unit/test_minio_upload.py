"""Addresses, settings and metadata: what is decided before anything is sent."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import ReadOnlyCredentials

from comfygen.config import StoreConfig
from comfygen.errors import ConfigInvalid, StoreError
from comfygen.minio_client import StoreSettings
from comfygen.minio_client.connection import sign_query
from comfygen.minio_client.settings import Timing
from comfygen.minio_client.upload import Upload, checked_metadata, prepare, send

SETTINGS = StoreSettings(endpoint="http://127.0.0.1:9000", bucket="comfy-gen", access_key="a", secret_key="s")
MIB = 1 << 20


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("20260104_011032_robot.png", "20260104_011032_robot.png"),
        ("a b+c%20d.png", "a%20b%2Bc%2520d.png"),
        ("ü/日本 🎨.png", "%C3%BC/%E6%97%A5%E6%9C%AC%20%F0%9F%8E%A8.png"),
        ("q?x=1#f&y.png", "q%3Fx%3D1%23f%26y.png"),
    ],
)
def test_addresses_are_percent_encoded_per_segment(key: str, expected: str) -> None:
    """Slashes stay, everything else that means something in an address is encoded."""
    assert SETTINGS.address(key) == f"http://127.0.0.1:9000/comfy-gen/{expected}"


def test_a_public_address_replaces_server_and_bucket() -> None:
    """People may reach the bucket under another name; the prefix is part of the key."""
    settings = StoreSettings(
        endpoint="http://10.0.0.5:9000", bucket="b", prefix="art/", public_url="https://pictures.example/"
    )
    assert settings.address("1.png") == "https://pictures.example/art/1.png"


@pytest.mark.parametrize("prefix", ["art", "/art/", "/"])
def test_a_prefix_is_a_folder(prefix: str) -> None:
    """`art` without its slash would put `artrequests/` beside it."""
    with pytest.raises(ConfigInvalid):
        StoreSettings(endpoint="http://127.0.0.1:9000", bucket="b", prefix=prefix)


def test_settings_come_from_the_configuration() -> None:
    """Every key of the store's configuration has its place."""
    config = StoreConfig.model_validate(
        {
            "endpoint": "http://127.0.0.1:9000",
            "bucket": "comfy-gen",
            "prefix": "art/",
            "access_key": "a",
            "secret_key": "s",
            "region": "eu-west-1",
            "public_url": "https://pictures.example",
            "policy": "presigned",
            "notifications": "webhook",
        }
    )
    settings = StoreSettings.of(config)
    assert (settings.bucket, settings.prefix, settings.secret_key) == ("comfy-gen", "art/", "s")
    assert (settings.region, settings.policy, settings.listening.source) == ("eu-west-1", "presigned", "webhook")
    assert settings.base_url == "https://pictures.example"


def test_a_folder_is_no_bucket() -> None:
    """Asking for the bucket of a folder store says what to set."""
    with pytest.raises(ConfigInvalid, match=r"store\.endpoint"):
        StoreSettings.of(StoreConfig(folder=Path("outputs")))


def test_secrets_are_not_shown() -> None:
    """Settings may be logged."""
    assert "secret" not in repr(SETTINGS).replace("secret_key", "")
    assert "secret_key" not in repr(SETTINGS)


def test_a_signed_query_is_sorted_and_fully_escaped() -> None:
    """MinIO signs the wire's order and botocore its own: they agree only on a sorted wire."""
    query = [("prefix", "a b/"), ("events", "s3:ObjectRemoved:*"), ("events", "s3:ObjectCreated:*"), ("ping", "2")]
    url, headers = sign_query(SETTINGS, query, ReadOnlyCredentials("a", "s", None))
    assert url.partition("?")[2] == (
        "events=s3%3AObjectCreated%3A%2A&events=s3%3AObjectRemoved%3A%2A&ping=2&prefix=a%20b%2F"
    )
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=a/")
    assert {"X-Amz-Date", "X-Amz-Content-SHA256"} <= headers.keys()


def test_a_session_token_is_signed_too() -> None:
    """Temporary credentials work for listening."""
    _, headers = sign_query(SETTINGS, [("ping", "2")], ReadOnlyCredentials("a", "s", "token"))
    assert headers["X-Amz-Security-Token"] == "token"


@pytest.mark.parametrize("metadata", [{"prompt": "grün"}, {"a": "x\ny"}, {"ü": "x"}])
def test_metadata_is_ascii(metadata: dict[str, str]) -> None:
    """Headers hold ids and hashes, not texts."""
    with pytest.raises(StoreError, match="ASCII"):
        checked_metadata(metadata)


def test_metadata_is_small() -> None:
    """MinIO takes 2 kB: more is refused before anything is sent."""
    assert checked_metadata({"a": "x" * 2047}) == {"a": "x" * 2047}
    with pytest.raises(StoreError, match="2049 bytes"):
        checked_metadata({"a": "x" * 2048})


async def test_the_sha256_of_bytes_and_files_is_in_the_metadata(tmp_path: Path) -> None:
    """It is what an etag cannot be once a server encrypts or takes parts."""
    file = tmp_path / "1.png"
    file.write_bytes(b"picture")
    expected = {"job": "j", "sha256": hashlib.sha256(b"picture").hexdigest()}
    for body in (b"picture", file):
        upload = await prepare("b", "k", body, content_type="image/png", metadata={"job": "j"}, conditions={})
        assert (upload.metadata, upload.size) == (expected, 7)


async def test_other_bytes_than_announced_are_not_sent() -> None:
    """A file that changed in the spool is found by the sha256 that came with it."""
    with pytest.raises(StoreError, match="announced"):
        await prepare("b", "k", b"x", content_type="image/png", metadata={"sha256": "0" * 64}, conditions={})


async def test_a_missing_file_is_no_fault_of_the_server(tmp_path: Path) -> None:
    """It is not retried for days."""
    with pytest.raises(StoreError) as raised:
        await prepare("b", "k", tmp_path / "gone", content_type="image/png", metadata=None, conditions={})
    assert not raised.value.retryable


@pytest.mark.parametrize(
    ("size", "expected"),
    [(5 * MIB, [(0, 5 * MIB)]), (12 * MIB, [(0, 5 * MIB), (5 * MIB, 5 * MIB), (10 * MIB, 2 * MIB)])],
)
def test_parts_cover_the_body(size: int, expected: list[tuple[int, int]]) -> None:
    """All but the last have the same size."""
    upload = Upload(bucket="b", key="k", body=b"", size=size, content_type="video/mp4", metadata={})
    assert upload.chunks(5 * MIB) == expected


def test_no_upload_has_more_parts_than_a_server_takes() -> None:
    """At a terabyte, the parts grow."""
    upload = Upload(bucket="b", key="k", body=b"", size=10**12, content_type="video/mp4", metadata={})
    assert len(upload.chunks(5 * MIB)) == 10_000


class StuckS3:
    """A server that takes a part and never answers."""

    def __init__(self) -> None:
        self.sending = asyncio.Event()
        self.aborted: list[str] = []

    async def create_multipart_upload(self, **about: Any) -> dict[str, str]:
        return {"UploadId": "u1"}

    async def upload_part(self, **about: Any) -> dict[str, str]:
        self.sending.set()
        return await asyncio.Future()

    async def abort_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str) -> None:  # noqa: N803
        self.aborted.append(UploadId)


async def test_a_cancelled_upload_is_aborted() -> None:
    """B15: who stops in the middle leaves no parts behind."""
    s3: Any = StuckS3()
    upload = Upload(bucket="b", key="k", body=b"12", size=2, content_type="video/mp4", metadata={})
    task = asyncio.create_task(send(s3, upload, part_bytes=1))
    await s3.sending.wait()
    task.cancel()
    await asyncio.wait({task})
    assert (task.cancelled(), s3.aborted) == (True, ["u1"])


@pytest.mark.parametrize(("attempt", "expected"), [(0, 0.5), (1, 1), (5, 16), (6, 30), (10_000, 30)])
def test_the_back_off_has_a_cap(attempt: int, expected: float) -> None:
    """Full jitter: here chance is at its upper end."""
    assert Timing(random=lambda: 1.0).backoff(attempt, base=0.5, cap=30) == expected
