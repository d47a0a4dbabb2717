"""What /status says of a store whose notifications do not work, and what to do about it."""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfygen.minio_client import MinioStore
from tests.acceptance.harness import REQUEST, Buckets, House, house, until
from tests.integration.minio_stage import BUCKET, settings_for
from tests.minio_double.knobs import Knobs

SIDECAR = b'{"timestamp": "2026-01-04T01:10:32Z", "prompt": "a lake", "seed": 1}'
EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


def status(home: House) -> dict[str, Any]:
    """The running service's own word."""
    found = re.search(r"serving (http://\S+)", home.log)
    assert found is not None
    with urllib.request.urlopen(found[1], timeout=30) as answer:
        told: dict[str, Any] = json.loads(answer.read())
    return told


def notifications(home: House) -> dict[str, Any]:
    try:
        told = status(home)["indexer"].get("notifications", {})
    except (urllib.error.URLError, AssertionError):
        return {}
    assert isinstance(told, dict)
    return told


def knobs_of(home: House) -> Knobs:
    assert isinstance(home.places, Buckets)
    return home.places.double.knobs


CASES: list[tuple[str, Callable[[Knobs], None], str, str]] = [
    ("muffled", lambda knobs: knobs.muffle(), "muffled", "webhook"),
    ("a listing instead", lambda knobs: knobs.dialect("aws"), "unsupported", "webhook or poll"),
    ("501", lambda knobs: knobs.fail(501, "Listen"), "unsupported", "webhook or poll"),
    ("forbidden", lambda knobs: knobs.fail(403, "Listen"), "forbidden", "s3:ListenBucketNotification"),
    ("deaf", lambda knobs: knobs.deaf(), "deaf", "connected again"),
]


@pytest.mark.parametrize(("provoke", "state", "remedy"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_a_server_that_does_not_notify_is_named_and_polled(
    tmp_path: Path, provoke: Callable[[Knobs], None], state: str, remedy: str
) -> None:
    """The state has its name and its remedy; requests and outputs are found all the same."""
    async with house(tmp_path, "bucket") as (home, _):
        provoke(knobs_of(home))
        await home.start(COMFYGEN_STORE__CANARY_SECONDS="1")
        await until(lambda: "serving" in home.log, "the start")
        home.drop("lake.yaml", REQUEST)
        await until(lambda: home.reports().get("lake.yaml"), "the result")
        told = await until(lambda: (now := notifications(home)).get("state") == state and now, "the state")
        assert remedy in told["remedy"]
        await until(lambda: home.rows("SELECT key FROM generations"), "the row")
        assert await home.stop() == 0


@pytest.mark.parametrize(("how", "mode"), [("", "shared"), ("ignore", "ignored"), ("404", "broken")])
async def test_what_conditional_writes_are_worth_is_said(tmp_path: Path, how: str, mode: str) -> None:
    """Where they are worth nothing, one service works alone; and it works."""
    async with house(tmp_path, "bucket") as (home, simulator):
        knobs_of(home).fail_conditional(how)
        home.drop("lake.yaml", REQUEST)
        await home.start()
        await until(lambda: home.reports().get("lake.yaml"), "the result")
        assert mode in status(home)["inboxes"][0]["mode"]
        await until(lambda: home.left() == [], "the request object to move")
        assert await home.stop() == 0
        assert len(simulator.posted) == 1


# -- webhooks ---------------------------------------------------------------------------------------------------------

WEBHOOK = {"COMFYGEN_STORE__NOTIFICATIONS": "webhook", "COMFYGEN_STORE__WEBHOOK_TOKEN": "secret"}


def hook(home: House) -> str:
    """Where the running service takes webhooks."""
    found = re.search(r"serving (http://\S+)/status", home.log)
    assert found is not None
    return f"{found[1]}/hooks/bucket"


async def posted(home: House, body: bytes, token: str = "secret") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(hook(home), data=io.BytesIO(body), headers=headers) as answer,
    ):
        told: dict[str, Any] = await answer.json()
        return answer.status, told


async def subscribe(home: House) -> None:
    """Let the server post what happens to the running service."""
    assert isinstance(home.places, Buckets)
    double = home.places.double
    rule: Any = {"QueueArn": double.add_webhook("COMFY", hook(home), token="secret"), "Events": EVENTS}
    async with MinioStore.open(settings_for(double)) as store:
        await store._s3.put_bucket_notification_configuration(
            Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [rule]}
        )


async def put(home: House, key: str, body: bytes) -> None:
    """What a foreign client does: the object and its event."""
    assert isinstance(home.places, Buckets)
    home.places.double.state.storage.put(home.places.bucket, key, body, {})
    home.places.double.knobs.emit("s3:ObjectCreated:Put", home.places.bucket, key)


async def test_webhooks_are_enough(tmp_path: Path) -> None:
    """A burst of objects of a foreign client becomes rows, without a listing and without a poll."""
    async with house(tmp_path, "bucket") as (home, _):
        await home.start(**WEBHOOK)
        await until(lambda: "serving" in home.log, "the start")
        await subscribe(home)
        for n in range(100):
            await put(home, f"2026010{n % 9}_lake-{n}.png", b"picture")
            await put(home, f"2026010{n % 9}_lake-{n}.png.json", SIDECAR)
        await until(lambda: home.rows("SELECT count(*) FROM generations") == [(100,)], "the rows")
        home.drop("lake.yaml", REQUEST)
        await until(lambda: home.reports().get("lake.yaml"), "the result")
        assert await home.stop() == 0


async def test_a_webhook_that_cannot_be_read_is_remembered_and_answered_well(tmp_path: Path) -> None:
    """An error would block its sender for good; only a wrong token is refused."""
    async with house(tmp_path, "bucket") as (home, _):
        await home.start(**WEBHOOK)
        await until(lambda: notifications(home).get("state") == "listening", "the start")
        assert (await posted(home, b"{}", token="wrong"))[0] == 401
        code, told = await posted(home, b"no notification")
        assert (code, told["ok"], len(told["problems"])) == (200, False, 1)
        code, told = await posted(home, b"x" * (9 << 20))
        assert (code, told["problems"]) == (200, ["The body is too large."])
        assert notifications(home)["unreadable"] == 1
        assert await home.stop() == 0
