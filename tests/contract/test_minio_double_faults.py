"""The double's requests on bad days: errors in sequence, lost acknowledgements, wrong listings, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.minio_double import MinioDouble
from tests.minio_double.recording import FOLDER
from tests.minio_double.wire import Reply, Signing, Wire


@pytest.fixture
async def double() -> AsyncIterator[MinioDouble]:
    async with MinioDouble() as double:
        await double.make_bucket("photos")
        yield double


@pytest.fixture
def wire(double: MinioDouble) -> Wire:
    return Wire(endpoint=double.endpoint)


async def put(wire: Wire, key: str, body: bytes = b"x") -> Reply:
    return await wire.call("PUT", f"/photos/{key}", body)


async def listed(wire: Wire, query: str = "") -> list[str]:
    answer = await wire.call("GET", "/photos", query=f"list-type=2{query}")
    assert answer.code == 200
    return [part.partition(b"<")[0].decode() for part in answer.body.split(b"<Key>")[1:]]


async def test_statuses_come_in_sequence(wire: Wire, double: MinioDouble) -> None:
    """status_sequence answers matching requests one after the other, and lets all others through."""
    double.knobs.status_sequence([503, 507, 429, "RequestTimeTooSkewed", 200], method="PUT", key="*.png")
    answers = [await put(wire, "a.png") for _ in range(6)]
    assert [answer.code for answer in answers] == [503, 507, 429, 403, 200, 200]
    assert [answer.error for answer in answers[:4]] == [
        "SlowDownWrite",
        "XMinioStorageFull",
        "TooManyRequests",
        "RequestTimeTooSkewed",
    ]
    assert [answer.header("Retry-After") for answer in answers[:3]] == ["60", None, None]


async def test_a_failure_lasts_until_it_is_mended(wire: Wire, double: MinioDouble) -> None:
    """fail() matches by operation and goes on until mend(); nothing is stored meanwhile."""
    double.knobs.fail("SlowDownWrite", method="PutObject")
    assert [(await put(wire, "a")).code for _ in range(3)] == [503] * 3
    assert await listed(wire) == []
    double.knobs.mend()
    assert (await put(wire, "a")).code == 200


async def test_a_stopping_server_answers_in_plain_text(wire: Wire, double: MinioDouble) -> None:
    """The pseudo-answer "shutdown" is no XML."""
    double.knobs.status_sequence(["shutdown"])
    answer = await put(wire, "a")
    assert (answer.code, answer.error, answer.header("Retry-After")) == (503, None, "60")


async def test_unknown_answers_are_refused(double: MinioDouble) -> None:
    """A typing mistake in a test is an error, not a healthy server."""
    with pytest.raises(ValueError, match="SlowDwon"):
        double.knobs.status_sequence(["SlowDwon"])


async def test_an_acknowledgement_is_lost(wire: Wire, double: MinioDouble) -> None:
    """lost_ack does what is asked and resets the connection; an aborted request does nothing."""
    double.knobs.lost_ack("PUT", "kept")
    double.knobs.status_sequence(["abort"], key="gone")
    for key in ("kept", "gone"):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await put(wire, key)
    assert await listed(wire) == ["kept"]
    assert (await put(wire, "kept")).code == 200


async def test_a_body_is_truncated(double: MinioDouble, wire: Wire) -> None:
    """truncate_response promises all of the body and sends half of it."""
    await put(wire, "a", b"12345678")
    double.knobs.truncate_response("GET", "a")
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await wire.call("GET", "/photos/a")
    assert (caught.value.partial, caught.value.expected) == (b"1234", 8)


async def test_an_upload_that_breaks_off_leaves_nothing(double: MinioDouble, wire: Wire) -> None:
    """A PUT whose client goes away in the middle stores no part of the object."""
    double.knobs.slow_upload(100.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await put(wire, "slow", b"x" * 1000)
    double.knobs.slow_upload(0)
    assert await listed(wire) == []


async def test_a_wrong_clock_is_told_by_the_date(double: MinioDouble, wire: Wire) -> None:
    """With clock_offset, signed requests are refused, and the response's Date says by how much."""
    double.knobs.clock_offset(1200)
    answer = await put(wire, "a")
    assert answer.error == "RequestTimeTooSkewed"
    skewed = Wire(endpoint=double.endpoint, signing=Signing(skew=1200))
    assert (await put(skewed, "a")).code == 200


async def test_listings_lag(double: MinioDouble, wire: Wire) -> None:
    """list_lag shows what was there when it was turned on, and HEAD knows better."""
    await put(wire, "old")
    double.knobs.list_lag()
    await put(wire, "new")
    assert await listed(wire) == ["old"]
    assert (await wire.call("HEAD", "/photos/new")).code == 200
    double.knobs.list_lag(False)
    assert await listed(wire) == ["new", "old"]


async def test_a_listing_is_wrongly_empty(double: MinioDouble, wire: Wire) -> None:
    """list_empty answers the next listings with 200 and nothing in them."""
    await put(wire, "a")
    double.knobs.list_empty(2)
    assert [await listed(wire) for _ in range(3)] == [[], [], ["a"]]


async def test_a_later_page_fails(double: MinioDouble, wire: Wire) -> None:
    """list_page_status fails page n of a listing once, and the same page comes when it is asked for again."""
    for number in range(5):
        await put(wire, str(number))
    double.knobs.list_page_status(2, 503)
    first = await wire.call("GET", "/photos", query="list-type=2&max-keys=2")
    token = first.body.partition(b"<NextContinuationToken>")[2].partition(b"<")[0].decode()
    query = f"continuation-token={token.replace('=', '%3D').replace('+', '%2B')}&list-type=2&max-keys=2"
    assert (await wire.call("GET", "/photos", query=query)).code == 503
    assert b"<Key>2</Key>" in (await wire.call("GET", "/photos", query=query)).body


async def test_an_object_hides_what_lies_beneath_it(double: MinioDouble, wire: Wire) -> None:
    """nested() makes keys vanish from listings that HEAD still finds, until the object above them goes."""
    await put(wire, "day/1.json")
    double.knobs.nested("photos", "day")
    assert await listed(wire) == ["day"]
    assert await listed(wire, "&prefix=day%2F") == []
    assert (await wire.call("HEAD", "/photos/day/1.json")).code == 200
    await wire.call("DELETE", "/photos/day")
    assert await listed(wire) == ["day/1.json"]


async def test_a_missing_bucket_is_not_a_missing_key(double: MinioDouble, wire: Wire) -> None:
    """Both are 404 to a HEAD: the header tells them apart."""
    assert (await wire.call("HEAD", "/photos/a")).error == "NoSuchKey"
    double.knobs.reset_bucket("photos", recreate=False)
    assert (await wire.call("HEAD", "/photos/a")).error == "NoSuchBucket"


async def test_aws_chunked_can_be_refused(double: MinioDouble, wire: Wire) -> None:
    """refuse_chunked is what many S3-alikes do to checksum trailers."""
    double.knobs.refuse_chunked()
    headers = {"Content-Encoding": "aws-chunked"}
    assert (await wire.call("PUT", "/photos/a", b"x", headers=headers)).code == 400


async def test_healthy_turns_every_knob_back(double: MinioDouble, wire: Wire) -> None:
    """After healthy() nothing is wrong any more."""
    knobs = double.knobs
    for fault in (knobs.deaf, knobs.muffle, knobs.list_lag, knobs.list_empty, knobs.fail_conditional):
        fault()
    knobs.clock_offset(5000)
    knobs.fail(500)
    knobs.healthy()
    async with wire.listen("photos") as listener:
        await double.listening()
        await put(wire, "a")
        await listener.until(events=1)
    assert await listed(wire) == ["a"]


async def test_the_log_tells_what_was_asked(double: MinioDouble, wire: Wire) -> None:
    """Every request is logged with its operation, key and outcome, those that a knob refused included."""
    double.knobs.status_sequence([503])
    await put(wire, "a")
    await put(wire, "a")
    await wire.call("GET", "/photos/b")
    await listed(wire)
    assert [(line.operation, line.key, line.status, line.code) for line in double.requests] == [
        ("PutObject", "a", 503, "SlowDownWrite"),
        ("PutObject", "a", 200, None),
        ("GetObject", "b", 404, "NoSuchKey"),
        ("ListObjectsV2", "", 200, None),
    ]


async def test_a_restart_looks_as_recorded(double: MinioDouble, wire: Wire) -> None:
    """Streams end without a last chunk, connections are refused, and afterwards all objects are there."""
    text = (FOLDER / "targets-and-restarts.json").read_text(encoding="utf-8")
    await put(wire, "a")
    async with aiohttp.ClientSession() as session:
        target = wire.listen("photos", ping=1)
        headers = target.signing.headers(double.endpoint, "GET", target.target, {}, b"")
        request = asyncio.create_task(session.get(double.endpoint + target.target, headers=headers))
        await double.listening()
        await put(wire, "b")
        async with await request as stream:
            await stream.content.readline()
            await double.knobs.refuse()
            with pytest.raises(aiohttp.ClientPayloadError) as ended:
                await stream.content.readline()
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await session.get(double.endpoint)
    assert [type(error.value).__name__ in text for error in (ended, refused)] == [True, True]
    await double.knobs.accept()
    assert await listed(wire) == ["a", "b"]


async def test_a_restart_keeps_port_and_objects(double: MinioDouble, wire: Wire) -> None:
    """restart() ends the streams that are open and comes back at the same address."""
    await put(wire, "a")
    async with wire.listen("photos") as listener:
        await double.listening()
        await put(wire, "b")
        await listener.until(events=1)
        await double.knobs.restart()
        await listener.until(end=True)
    assert listener.end == "end without last chunk"
    assert await listed(wire) == ["a", "b"]
