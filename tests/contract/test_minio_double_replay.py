"""The double against the recordings of a real server: the same requests, the same answers."""

from __future__ import annotations

import asyncio

import pytest

from tests.minio_double import MinioDouble
from tests.minio_double.recording import ACCEPTED, Case, load, shape, text_of
from tests.minio_double.replay import Replay


@pytest.fixture(scope="module")
def recorded() -> dict[str, Case]:
    """What MinIO RELEASE.2025-10-15 answered."""
    return load()


@pytest.fixture(scope="module")
def replayed(recorded: dict[str, Case]) -> dict[str, Case]:
    """What the double answers to the same requests in the same order."""

    async def replay() -> dict[str, Case]:
        async with MinioDouble() as double:
            run = Replay(endpoint=double.endpoint, bucket="bucket", settled=double.listening)
            return await run.run(recorded.values())

    return asyncio.run(replay())


def test_every_case_has_the_recorded_shape(recorded: dict[str, Case], replayed: dict[str, Case]) -> None:
    """Status, error code, telling headers, events and streams of all 134 cases are those of the real server."""
    pairs = {name: (shape(recorded[name]), shape(replayed[name])) for name in recorded}
    assert len(pairs) == 134
    assert {name: pair for name, pair in pairs.items() if pair[0] != pair[1]} == {}


def test_bodies_headers_and_event_values_are_the_recorded_ones(
    recorded: dict[str, Case], replayed: dict[str, Case]
) -> None:
    """Beyond their shape, the answers have the same bodies, header names and event values, ids and times apart."""
    pairs = {name: (text_of(recorded[name]), text_of(replayed[name])) for name in recorded}
    assert {name: pair for name, pair in pairs.items() if pair[0] != pair[1]} == {}


def test_every_accepted_difference_is_there(recorded: dict[str, Case], replayed: dict[str, Case]) -> None:
    """The list of accepted differences is short and holds nothing that is equal by now."""
    differing: set[str] = set()
    for name in recorded:
        sides = [side[name]["response"]["headers"] for side in (recorded, replayed) if "response" in side[name]]
        names = [{header.lower() for header, _ in headers} for headers in sides]
        differing |= names[0] ^ names[1] if names else set()
    assert differing == ACCEPTED.keys() - {"Buckets"}


def test_chunks_are_flushed_as_recorded(recorded: dict[str, Case], replayed: dict[str, Case]) -> None:
    """One chunk for each event; three that come at once are flushed together, and cut where the buffer ends."""
    name = "listen while all of the operations above ran"
    sides = [[chunk["bytes"] for chunk in side[name]["response"]["chunks"]] for side in (recorded, replayed)]
    counts = [[chunk.count("\n") for chunk in chunks] for chunks in sides]
    assert counts == [[1] * 15 + [2, 1]] * 2
    assert [{len(chunk) for chunk in chunks[15:16]} for chunks in sides] == [{2016}] * 2
