"""What /status says of a store whose notifications do not work, and what to do about it."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import REQUEST, Buckets, House, house, until


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


def provoke(home: House, state: str) -> None:
    """Make the double such a server."""
    assert isinstance(home.places, Buckets)
    knobs = home.places.double.knobs
    if state == "muffled":
        knobs.muffle()
    elif state == "unsupported":
        knobs.dialect("aws")
    elif state == "forbidden":
        knobs.fail(403, "Listen")
    else:
        knobs.deaf()


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("muffled", "webhook"),
        ("unsupported", "webhook or poll"),
        ("forbidden", "s3:ListenBucketNotification"),
        ("deaf", "connected again"),
    ],
)
async def test_a_server_that_does_not_notify_is_named_and_polled(tmp_path: Path, state: str, remedy: str) -> None:
    """The state has its name and its remedy; requests and outputs are found all the same."""
    async with house(tmp_path, "bucket") as (home, _):
        provoke(home, state)
        await home.start(COMFYGEN_STORE__CANARY_SECONDS="1")
        await until(lambda: "serving" in home.log, "the start")
        home.drop("lake.yaml", REQUEST)
        await until(lambda: home.reports().get("lake.yaml"), "the result")
        told = await until(lambda: (now := notifications(home)).get("state") == state and now, "the state")
        assert remedy in told["remedy"]
        await until(lambda: home.rows("SELECT key FROM generations"), "the row")
        assert await home.stop() == 0
