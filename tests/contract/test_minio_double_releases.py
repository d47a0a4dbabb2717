"""The double as other servers: two broken releases, a build that does not flush, an old one, RustFS, AWS."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.minio_double import MinioDouble
from tests.minio_double.recording import Case, load, shape
from tests.minio_double.replay import Replay
from tests.minio_double.wire import Wire

RACE = "20 keys x 12 concurrent put If-None-Match:*"
SETUP = ("create bucket", "put", "overwrite", "copy to itself replacing metadata")
VERSIONED = ("enable versioning", "versioned put", "versioned overwrite", "versioned delete (marker)")
OVER_MARKER = ("put If-None-Match:* over a delete marker", "head after it")
ODD_KEY = "a b+c%20d/ü.png"


@pytest.fixture
async def double() -> AsyncIterator[MinioDouble]:
    async with MinioDouble() as double:
        await double.make_bucket("photos")
        yield double


def conditional_cases(release: str) -> dict[str, Case]:
    """What one release answered to conditional writes: the reference, with its own differences laid over it."""
    reference = load()
    names = list(reference)
    chosen = names[names.index("put If-None-Match:* on a missing key") : names.index(RACE) + 1]
    return {name: (reference | load(f"{release}.differs.jsonl"))[name] for name in [*chosen, *OVER_MARKER]}


@pytest.mark.parametrize(
    ("release", "knob", "etags"),
    [
        ("release-2025-09-06", "404", {}),
        # its claim was overwritten, so the "current etag" of this recording is another one
        ("release-2024-05-01", "ignore", {"25f2b8271f7ffa7e5a3396421f54155f": "2e3317e28f7420dc55f67d57da5a0e6d"}),
    ],
)
async def test_conditional_writes_of_broken_releases(release: str, knob: str, etags: dict[str, str]) -> None:
    """With fail_conditional the double answers conditional writes as the release of that name did."""
    cases = conditional_cases(release)
    before = {name: load()[name] for name in (*SETUP, *VERSIONED)}
    async with MinioDouble() as double:
        double.knobs.fail_conditional(knob)
        replay = Replay(endpoint=double.endpoint, bucket="bucket", settled=double.listening, learnt=etags)
        answers = await replay.run([*before.values(), *cases.values()])
    pairs = {name: (shape(case), shape(answers[name])) for name, case in cases.items()}
    for pair in pairs.values():
        pair[0].pop("events", None)
    assert {name: pair for name, pair in pairs.items() if pair[0] != pair[1]} == {}


async def test_a_muffled_stream_comes_in_blocks_that_cut_lines(double: MinioDouble) -> None:
    """Builds that do not flush send 2,016 bytes at a time once 4 kB have gathered, and keep the rest for ever."""
    stream = load("head-2026-02.differs.jsonl")["listen while all of the operations above ran"]["response"]["chunks"]
    assert {len(chunk["bytes"].encode()) for chunk in stream} == {2016}
    double.knobs.muffle()
    wire = Wire(endpoint=double.endpoint)
    async with wire.listen("photos", ping=10) as listener:
        await double.listening()
        await wire.call("PUT", "/photos/quiet.png", b"x")
        assert listener.head is None
        for number in range(7):
            await wire.call("PUT", f"/photos/{number}.png", b"x")
        await listener.until(chunks=2)
        assert {len(chunk) for chunk in listener.chunks} == {2016}
        assert 2 <= len(listener.events()) < 8


async def test_an_old_server_sends_blanks_whatever_the_ping(double: MinioDouble) -> None:
    """Releases before 2023-04 ignore `ping`, and `If-None-Match: *` too."""
    double.knobs.dialect("old")
    wire = Wire(endpoint=double.endpoint)
    async with wire.listen("photos", ping=1) as listener:
        await listener.until(chunks=1)
        assert listener.chunks == [b" "]
    answers = [await wire.call("PUT", "/photos/claim", b"", headers={"If-None-Match": "*"}) for _ in range(2)]
    assert [answer.code for answer in answers] == [200, 200]


async def test_rustfs_encodes_keys_and_answers_at_once(double: MinioDouble) -> None:
    """RustFS sends its headers at once, form-encodes keys, takes prefixes literally and pings with an empty list."""
    double.knobs.dialect("rustfs")
    wire = Wire(endpoint=double.endpoint)
    late = wire.listen("photos", ping=60, prefix="a*")
    async with wire.listen("photos", ping=1, prefix="a ") as listener, late as literal:
        await literal.until(head=True)
        assert literal.chunks == []
        await double.listening(2)
        await wire.call("PUT", f"/photos/{ODD_KEY}", b"x")
        await listener.until(events=1, pings=1)
        assert listener.heard() == ["a+b%2Bc%2520d%2F%C3%BC.png"]
        assert [line["Records"] for line in listener.lines if not line["Records"]] == [[]]
        assert literal.heard() == []
    assert listener.events()[0]["eventSource"] == "rustfs:s3"


async def test_rustfs_honours_conditions_on_the_destination_of_a_copy(double: MinioDouble) -> None:
    """Unlike MinIO, RustFS refuses to copy over an existing key with If-None-Match: *."""
    wire = Wire(endpoint=double.endpoint)
    await wire.call("PUT", "/photos/a", b"x")
    await wire.call("PUT", "/photos/b", b"y")
    copy = {"x-amz-copy-source": "/photos/a", "If-None-Match": "*"}
    codes = []
    for dialect in ("rustfs", "minio"):
        double.knobs.dialect(dialect)
        codes.append((await wire.call("PUT", "/photos/b", headers=copy)).code)
    assert codes == [412, 200]


async def test_rustfs_may_tell_a_new_listener_old_news(double: MinioDouble) -> None:
    """With replay, events from before the subscription come first."""
    wire = Wire(endpoint=double.endpoint)
    for key in ("one", "two", "three"):
        await wire.call("PUT", f"/photos/{key}", b"x")
    double.knobs.replay(2)
    async with wire.listen("photos") as listener:
        await listener.until(events=2)
        assert listener.heard() == ["two", "three"]


async def test_a_server_without_listen_answers_with_a_listing(double: MinioDouble) -> None:
    """AWS does not know `?events`: 200, and XML."""
    double.knobs.dialect("aws")
    wire = Wire(endpoint=double.endpoint)
    listener = wire.listen("photos", ping=1)
    answer = await wire.call("GET", "/photos", query=listener.target.partition("?")[2])
    assert (answer.code, answer.header("Content-Type")) == (200, "application/xml")
    assert b"<ListBucketResult" in answer.body
    assert (await wire.call("GET", "/minio/health/live")).code != 200
