"""The double in a process of its own: its program, and its knobs over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.minio_double import MinioDouble
from tests.minio_double.process import RemoteDouble, double_process
from tests.minio_double.wire import GUARD, Wire


@pytest.fixture
async def remote() -> AsyncIterator[RemoteDouble]:
    async with MinioDouble() as double, aiohttp.ClientSession() as session:
        await double.make_bucket("photos")
        yield RemoteDouble(endpoint=double.endpoint, session=session)


async def put(remote: RemoteDouble, key: str) -> int:
    return (await Wire(endpoint=remote.endpoint).call("PUT", f"/photos/{key}", b"x")).code


async def come_back(remote: RemoteDouble) -> None:
    """Wait until connections are accepted again."""
    async with asyncio.timeout(GUARD):
        while True:
            try:
                await remote.knob("mend")
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)
            else:
                return


async def test_the_program_serves_with_its_knobs() -> None:
    """``python -m tests.minio_double`` prints its endpoint, has its buckets, and takes orders over HTTP."""
    async with double_process("photos") as remote:
        await remote.knob("status_sequence", answers=[503, 200], method="PUT")
        assert [await put(remote, "a") for _ in range(3)] == [503, 200, 200]
        assert [line["status"] for line in await remote.knob("requests")] == [503, 200, 200]
        await remote.knob("restart")
        await come_back(remote)
        assert await put(remote, "b") == 200


async def test_knobs_answer_over_http(remote: RemoteDouble) -> None:
    """Results come back as JSON; buckets, users and webhooks are made the same way."""
    await remote.knob("make_bucket", name="films")
    await remote.knob("add_user", access_key="reader", secret_key="reader-secret", actions=["s3:GetObject"])
    arn = await remote.knob("add_webhook", name="A", endpoint="http://127.0.0.1:9/hook")
    assert (arn, await remote.knob("listeners")) == ("arn:minio:sqs::A:webhook", 0)
    assert (await Wire(endpoint=remote.endpoint).call("HEAD", "/films")).code == 200


@pytest.mark.parametrize(
    ("knob", "arguments", "why"),
    [
        ("nonsense", {}, "no knob"),
        ("_double", {}, "no knob"),
        ("dialect", {"name": "klingon"}, "klingon"),
        ("deaf", {"loud": True}, "loud"),
    ],
)
async def test_wrong_knobs_and_arguments_are_refused(
    remote: RemoteDouble, knob: str, arguments: dict[str, object], why: str
) -> None:
    """A mistake in a test is told, not ignored."""
    with pytest.raises(ValueError, match=why):
        await remote.knob(knob, **arguments)


async def test_connections_are_refused_for_a_time(remote: RemoteDouble) -> None:
    """refuse(seconds) answers first, ends every stream, and opens the door again by itself."""
    async with Wire(endpoint=remote.endpoint).listen("photos", ping=1) as listener:
        await listener.until(head=True)
        await remote.knob("refuse", seconds=0.05)
        await listener.until(end=True)
    await come_back(remote)
    assert await put(remote, "a") == 200


async def test_two_doubles_have_nothing_in_common() -> None:
    """Buckets of the same name in two doubles of one process are two buckets."""
    async with MinioDouble() as one, MinioDouble() as two:
        for double in (one, two):
            await double.make_bucket("photos")
        await Wire(endpoint=one.endpoint).call("PUT", "/photos/a", b"x")
        assert (await Wire(endpoint=two.endpoint).call("HEAD", "/photos/a")).error == "NoSuchKey"
