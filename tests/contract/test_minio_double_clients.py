"""The double as other people's clients see it: minio-py, boto3 and aiobotocore work with it unchanged."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
import urllib3
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import ClientError
from minio import Minio, S3Error
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject

from tests.minio_double import MinioDouble
from tests.minio_double.wire import Wire

KEYS = ("a b+c%20d.png", "q?x=1#frag&y<z>.png", "ümläut/日本 🎨.png", "~tilde'(1)*.png")
PUBLIC = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/*"}
LOGIN = {"aws_access_key_id": "comfygen", "aws_secret_access_key": "comfygen-secret", "region_name": "us-east-1"}


@pytest.fixture
async def double() -> AsyncIterator[MinioDouble]:
    async with MinioDouble() as double:
        await double.make_bucket("photos")
        yield double


@contextmanager
def minio_client(double: MinioDouble) -> Iterator[tuple[Minio, urllib3.PoolManager]]:
    with urllib3.PoolManager(timeout=30) as http:
        place = double.endpoint.removeprefix("http://")
        yield Minio(place, "comfygen", "comfygen-secret", secure=False, http_client=http), http


def use_minio(client: Minio) -> dict[str, Any]:
    """Put, get, stat, copy, list and remove with minio-py."""
    for key in KEYS:
        client.put_object("photos", key, io.BytesIO(b"hello"), 5, "image/png", metadata={"job": "j1"})
    stat = client.stat_object("photos", KEYS[0])
    with client.get_object("photos", KEYS[0]) as answer:
        body = answer.read()
    client.copy_object("photos", "copy", CopySource("photos", KEYS[0]))
    names = [found.object_name for found in client.list_objects("photos", recursive=True)]
    errors = list(client.remove_objects("photos", [DeleteObject(key) for key in KEYS]))
    left = [found.object_name for found in client.list_objects("photos")]
    return {
        "body": body,
        "type": stat.content_type,
        "names": names,
        "errors": errors,
        "left": left,
        "again": client.bucket_exists("photos"),
    }


async def test_minio_py_puts_gets_copies_lists_and_removes(double: MinioDouble) -> None:
    """An independent client stores and finds odd keys, copies them, and removes many at once."""
    with minio_client(double) as (client, _):
        seen = await asyncio.to_thread(use_minio, client)
    assert seen == {
        "body": b"hello",
        "type": "image/png",
        "names": sorted([*KEYS, "copy"]),
        "errors": [],
        "left": ["copy"],
        "again": True,
    }


async def test_minio_py_uploads_in_parts(double: MinioDouble) -> None:
    """A stream of unknown length becomes a multipart upload with an etag of two parts."""
    with minio_client(double) as (client, _):
        body = io.BytesIO(b"p" * (5 * 2**20 + 100))
        await asyncio.to_thread(client.put_object, "photos", "big.mp4", body, -1, part_size=5 * 2**20)
        stat = await asyncio.to_thread(client.stat_object, "photos", "big.mp4")
    assert (stat.size, stat.etag) == (5 * 2**20 + 100, "dba9557af3a5d7d13f66320dabb67b98-2")


async def test_minio_py_hears_events(double: MinioDouble) -> None:
    """minio-py's own listener signs, connects, and gets the event of an object with its raw key."""

    def listen(client: Minio) -> str:
        with client.listen_bucket_notification("photos", suffix=".png") as events:
            return str(next(events)["Records"][0]["s3"]["object"]["key"])

    with minio_client(double) as (client, _):
        heard = asyncio.create_task(asyncio.to_thread(listen, client))
        await double.listening()
        await Wire(endpoint=double.endpoint).call("PUT", f"/photos/{KEYS[0]}", b"x")
        assert await heard == KEYS[0]


async def test_minio_py_presigns_and_publishes(double: MinioDouble) -> None:
    """Presigned URLs of another implementation are good, and a policy makes objects public."""

    def use(client: Minio, http: urllib3.PoolManager) -> list[tuple[int, bytes]]:
        put = http.request("PUT", client.presigned_put_object("photos", KEYS[2]), body=b"x")
        got = http.request("GET", client.presigned_get_object("photos", KEYS[2]))
        client.put_object("photos", "open", io.BytesIO(b"y"), 1)
        before = http.request("GET", f"{double.endpoint}/photos/open")
        client.set_bucket_policy("photos", json.dumps({"Version": "2012-10-17", "Statement": [PUBLIC]}))
        after = http.request("GET", f"{double.endpoint}/photos/open")
        return [(put.status, b""), (got.status, got.data), (before.status, b""), (after.status, after.data)]

    with minio_client(double) as (client, http):
        seen = await asyncio.to_thread(use, client, http)
    assert seen == [(200, b""), (200, b"x"), (403, b""), (200, b"y")]


async def test_minio_py_understands_errors(double: MinioDouble) -> None:
    """Errors carry the codes that clients look for, those of HEAD included."""

    def code(client: Minio, bucket: str) -> str | None:
        with pytest.raises(S3Error) as caught:
            client.stat_object(bucket, "never-was")
        return caught.value.code

    with minio_client(double) as (client, _):
        codes = [await asyncio.to_thread(code, client, bucket) for bucket in ("photos", "no-such-bucket")]
    assert codes == ["NoSuchKey", "NoSuchBucket"]


async def test_boto3_stores_lists_and_claims(double: MinioDouble) -> None:
    """boto3 puts (with its Expect: 100-continue), pages through a listing, and loses a claim."""

    def use() -> tuple[list[str], str]:
        client = boto3.client(
            "s3", endpoint_url=double.endpoint, config=Config(retries={"total_max_attempts": 1}), **LOGIN
        )
        for key in KEYS:
            client.put_object(Bucket="photos", Key=key, Body=b"x")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="photos", PaginationConfig={"PageSize": 2})
        names = [found["Key"] for page in pages for found in page["Contents"]]
        with pytest.raises(ClientError) as lost:
            client.put_object(Bucket="photos", Key=KEYS[0], Body=b"", IfNoneMatch="*")
        client.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": key} for key in KEYS]})
        left = client.list_objects_v2(Bucket="photos")["KeyCount"]
        client.close()
        return [*names, str(left)], str(lost.value.response["Error"]["Code"])

    assert await asyncio.to_thread(use) == ([*sorted(KEYS), "0"], "PreconditionFailed")


async def test_aiobotocore_keeps_its_connections(double: MinioDouble) -> None:
    """Many concurrent requests of one client are answered over kept connections."""
    async with get_session().create_client("s3", endpoint_url=double.endpoint, **LOGIN) as client:
        await asyncio.gather(
            *(client.put_object(Bucket="photos", Key=f"{number:03}", Body=b"x") for number in range(60))
        )
        answer = await client.get_object(Bucket="photos", Key="007")
        async with answer["Body"] as stream:
            assert await stream.read() == b"x"
        listing = await client.list_objects_v2(Bucket="photos")
    assert listing["KeyCount"] == 60
    assert len(double.requests) == 62
