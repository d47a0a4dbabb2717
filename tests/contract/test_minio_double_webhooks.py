"""The double's webhook targets: configured as MinIO's, and delivered as recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.minio_double import MinioDouble
from tests.minio_double.recording import FOLDER
from tests.minio_double.wire import GUARD, Wire

BUCKET = "life"
KEYS = ("plain.png", "a b+c%20d.png", "ümläut/日本 🎨.png")


@dataclass
class Receiver:
    """Someone's webhook, which answers with these statuses first and 200 afterwards."""

    statuses: list[int] = field(default_factory=list)
    seen: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)

    async def receive(self, request: web.Request) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 200
        body = await request.text()
        self.seen.put_nowait({"headers": dict(request.headers), "body": body, "answered": status})
        return web.Response(status=status)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(GUARD):
            return await self.seen.get()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def hook(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hooks/bucket", receiver.receive)
    async with TestServer(app) as server:
        yield str(server.make_url("/hooks/bucket"))


@pytest.fixture
async def double() -> AsyncIterator[MinioDouble]:
    async with MinioDouble() as double:
        await double.make_bucket(BUCKET)
        yield double


@pytest.fixture
def wire(double: MinioDouble) -> Wire:
    return Wire(endpoint=double.endpoint)


def recorded() -> list[dict[str, Any]]:
    """What a webhook target of a real server got, whose first two answers were 503 and 500."""
    text = (FOLDER / "targets-and-restarts.json").read_text(encoding="utf-8")
    deliveries: list[dict[str, Any]] = json.loads(text)["webhook deliveries (first two answered 503, 500)"]
    return deliveries


async def configure(wire: Wire, arn: str, *events: str, suffix: str = "") -> int:
    """Send a bucket's events to a target."""
    names = "".join(f"<Event>{event}</Event>" for event in events)
    rule = f"<FilterRule><Name>suffix</Name><Value>{suffix}</Value></FilterRule>"
    chosen = f"<Filter><S3Key>{rule}</S3Key></Filter>" if suffix else ""
    queue = f"<QueueConfiguration><Id>1</Id><Queue>{arn}</Queue>{names}{chosen}</QueueConfiguration>"
    body = f"<NotificationConfiguration>{queue}</NotificationConfiguration>".encode()
    return (await wire.call("PUT", f"/{BUCKET}", body, query="notification=")).code


def form(value: Any) -> Any:
    """The names and types in a JSON value, without its values."""
    if isinstance(value, dict):
        return {name: form(inner) for name, inner in value.items() if name != "userMetadata"}
    return [form(inner) for inner in value] if isinstance(value, list) else type(value).__name__


async def test_deliveries_are_those_of_the_recording(
    double: MinioDouble, wire: Wire, receiver: Receiver, hook: str
) -> None:
    """A queued target retries the first event until it is taken, then delivers the rest; bodies as recorded."""
    receiver.statuses = [503, 500]
    arn = double.add_webhook("COMFY", hook, token="sesame", retry=0.01)
    assert await configure(wire, arn, "s3:ObjectCreated:*", "s3:ObjectRemoved:*") == 200
    for key in KEYS:
        await wire.call("PUT", f"/{BUCKET}/{key}", b"x", headers={"Content-Type": "image/png"})
    await wire.call("DELETE", f"/{BUCKET}/plain.png")
    ours = [await receiver.next() for _ in recorded()]
    assert [(line["answered"], json.loads(line["body"])["Key"]) for line in ours] == [
        (line["answered"], json.loads(line["body"])["Key"]) for line in recorded()
    ]
    assert [form(json.loads(line["body"])) for line in ours] == [form(json.loads(line["body"])) for line in recorded()]
    for line, theirs in zip(ours, recorded(), strict=True):
        same = {"Authorization", "Content-Type", "User-Agent"}
        assert {name: line["headers"][name] for name in same} == {name: theirs["headers"][name] for name in same}


async def test_keys_are_encoded_inside_and_raw_outside(
    double: MinioDouble, wire: Wire, receiver: Receiver, hook: str
) -> None:
    """The records of a target have form-encoded keys, its outer Key is raw."""
    await configure(wire, double.add_webhook("A", hook), "s3:ObjectCreated:*")
    await wire.call("PUT", f"/{BUCKET}/{KEYS[1]}", b"x")
    body = json.loads((await receiver.next())["body"])
    assert (body["Key"], body["Records"][0]["s3"]["object"]["key"]) == (f"{BUCKET}/{KEYS[1]}", "a+b%2Bc%2520d.png")


async def test_without_a_queue_an_event_is_lost(double: MinioDouble, wire: Wire, receiver: Receiver, hook: str) -> None:
    """A target without queue directory forgets what was not taken."""
    receiver.statuses = [500]
    await configure(wire, double.add_webhook("A", hook), "s3:ObjectCreated:*", suffix=".json")
    for key in ("a.json", "b.png", "c.json"):
        await wire.call("PUT", f"/{BUCKET}/{key}", b"x")
    seen = [json.loads((await receiver.next())["body"])["Key"] for _ in range(2)]
    assert seen == [f"{BUCKET}/a.json", f"{BUCKET}/c.json"]
    assert receiver.seen.empty()


async def test_the_configuration_is_shown_until_its_target_vanishes(double: MinioDouble, wire: Wire, hook: str) -> None:
    """GET shows the rules with their filters, and none whose target is gone."""
    await configure(wire, double.add_webhook("A", hook), "s3:ObjectCreated:*", suffix=".json")
    shown = (await wire.call("GET", f"/{BUCKET}", query="notification=")).body
    double.state.arns.clear()
    after = (await wire.call("GET", f"/{BUCKET}", query="notification=")).body
    assert [b"<Value>.json</Value>" in body for body in (shown, after)] == [True, False]


@pytest.mark.parametrize(("target", "event"), [("nobody", "s3:ObjectCreated:*"), ("A", "s3:ObjectCreated:Nonsense")])
async def test_unknown_targets_and_events_are_refused(
    double: MinioDouble, wire: Wire, hook: str, target: str, event: str
) -> None:
    """A target that is not configured and an event that does not exist are 400."""
    double.add_webhook("A", hook)
    assert await configure(wire, f"arn:minio:sqs::{target}:webhook", event) == 400
