"""Bucket notifications in all dialects, however the stream that carries them is cut."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfygen.events import BucketEvent, Dialect, EventUnreadable, LineReader, parse_body, parse_line

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data/minio_client/events.json").read_text("utf-8"))
STREAMS = {stream["case"]: [chunk.encode() for chunk in stream["chunks"]] for stream in RECORDED["streams"]}
ALL_OPERATIONS = b"".join(STREAMS["listen while all of the operations above ran"])
KEYS = ["plain.png", "a b.png", "a+b.png", "a%20b.png", "100%.png", "x/y.png", "q?x=1#f&y<z>.png", "ü/日本 🎨.png"]
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def line(key: str, *, name: str = "s3:ObjectCreated:Put", source: str = "minio:s3") -> bytes:
    """A line of a listen stream with one record."""
    s3 = {"bucket": {"name": "bucket"}, "object": {"key": key, "size": 5, "eTag": "e1", "sequencer": "18EA"}}
    return json.dumps({"Records": [{"eventName": name, "eventSource": source, "s3": s3}]}).encode()


def read(chunks: list[bytes]) -> list[BucketEvent]:
    """The events of a stream that arrives in these chunks."""
    reader = LineReader()
    return [event for chunk in chunks for whole in reader.feed(chunk) for event in parse_line(whole)]


def test_a_recorded_event_is_read_field_by_field() -> None:
    """What MinIO says about a put arrives as one value."""
    first = read([ALL_OPERATIONS])[0]
    assert (first.bucket, first.key, first.name) == ("bucket", "plain.png", "s3:ObjectCreated:Put")
    assert (first.removed, first.size, first.source) == (False, 4, "minio:s3")
    assert len(first.etag) == 32
    assert len(first.sequencer) == 16


def test_the_recorded_operations_give_their_keys_raw() -> None:
    """MinIO's listen spells keys as they are, with spaces, plus, percent and emoji."""
    keys = {event.key for event in read([ALL_OPERATIONS])}
    assert {"a b+c%20d.png", "ümläut/日本 🎨.png", "q?x=1#frag&y<z>.png", "sub/dir/x.png.json"} <= keys


def test_an_event_without_a_size_is_empty() -> None:
    """MinIO leaves out a size of 0."""
    sizes = {event.key: event.size for event in read([ALL_OPERATIONS]) if event.name == "s3:ObjectCreated:Put"}
    assert sizes["empty.txt"] == 0


def test_recorded_removals_are_removed() -> None:
    """Deletions, delete markers and deletions of nothing say so."""
    events = read([ALL_OPERATIONS, *STREAMS["listen on the versioned bucket while that ran"]])
    assert {event.name for event in events if event.removed} == {
        "s3:ObjectRemoved:Delete",
        "s3:ObjectRemoved:NoOP",
        "s3:ObjectRemoved:DeleteMarkerCreated",
    }


@pytest.mark.parametrize("case", STREAMS)
def test_every_split_point_of_a_recording_reads_the_same(case: str) -> None:
    """Wherever a stream is cut in two, mid line and mid UTF-8 too, the same lines come out."""
    whole = b"".join(STREAMS[case])
    expected = LineReader().feed(whole)
    for cut in range(len(whole) + 1):
        reader = LineReader()
        assert reader.feed(whole[:cut]) + reader.feed(whole[cut:]) == expected


@UNHURRIED
@given(st.lists(st.integers(0, len(ALL_OPERATIONS)), max_size=20))
def test_any_chunking_reads_the_same(cuts: list[int]) -> None:
    """However often the recorded stream is cut, the same events come out."""
    places = [0, *sorted(cuts), len(ALL_OPERATIONS)]
    chunks = [ALL_OPERATIONS[start:end] for start, end in pairwise(places)]
    assert read(chunks) == read([ALL_OPERATIONS])


def test_a_partial_line_at_the_end_is_no_event() -> None:
    """Every cut of a stream of two events gives the events whose line is whole, and nothing else."""
    stream = line("ü.png") + b"\n" + line("b.png") + b"\n"
    first = stream.index(b"\n")
    for cut in range(len(stream)):
        assert len(read([stream[:cut]])) == (1 if cut > first else 0)


def test_a_line_without_an_end_is_refused() -> None:
    """The buffer is bounded: a giant line is an error, not memory."""
    reader = LineReader(max_line_bytes=1000)
    with pytest.raises(EventUnreadable, match="more than 1000 bytes"):
        for _ in range(20):
            reader.feed(b"x" * 100)
    assert reader.pending == 0


def test_blanks_without_a_newline_are_not_kept() -> None:
    """Old servers send a blank every half second for days: they take no room."""
    reader = LineReader(max_line_bytes=10)
    assert [reader.feed(b" ") for _ in range(100)] == [[]] * 100
    assert (reader.pending, reader.feed(b" {}\n")) == (0, [b"{}"])


@pytest.mark.parametrize("ping", [b'{"Records":null}', b'{"Records":[]}', b"   ", b"", b'{"Event":"s3:TestEvent"}'])
def test_a_ping_has_no_events(ping: bytes) -> None:
    """MinIO's null, RustFS's empty list, blanks, and the test event of a new target say nothing."""
    assert parse_line(ping) == ()


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("source", ["rustfs:s3", "aws:s3"])
def test_rustfs_and_aws_spell_keys_form_encoded(source: str, key: str) -> None:
    """Their keys are decoded, also on a listen."""
    assert [event.key for event in parse_line(line(quote_plus(key), source=source))] == [key]


@pytest.mark.parametrize("key", KEYS)
def test_minio_spells_keys_raw_on_a_listen(key: str) -> None:
    """Nothing is decoded twice: a%20b.png and a+b.png stay what they are."""
    assert [event.key for event in parse_line(line(key))] == [key]


@UNHURRIED
@given(KEY_TEXT)
def test_every_key_survives_both_spellings(key: str) -> None:
    """Raw on a listen of MinIO, form-encoded in a webhook: the same key."""
    assert [parse_line(line(key))[0].key, parse_body(line(quote_plus(key)))[0].key] == [key, key]


def test_a_given_dialect_beats_the_source() -> None:
    """Who knows better says so."""
    assert [event.key for event in parse_line(line("a+b", source="rustfs:s3"), dialect=Dialect.RAW)] == ["a+b"]


def test_an_unknown_server_is_believed_both_ways() -> None:
    """Where nobody knows the spelling, both keys are looked at; where it makes no difference, one."""
    assert [event.key for event in parse_line(line("a+b", source="other:s3"))] == ["a+b", "a b"]
    assert [event.key for event in parse_line(line("ab", source="other:s3"))] == ["ab"]


@pytest.mark.parametrize("body", RECORDED["webhooks"], ids=["put", "plus", "emoji", "delete"])
def test_recorded_webhooks_agree_with_their_own_raw_key(body: str) -> None:
    """The form-encoded key inside equals the raw one outside."""
    (event,) = parse_body(body.encode())
    assert f"{event.bucket}/{event.key}" == json.loads(body)["Key"]


def test_a_name_without_its_prefix_gets_it() -> None:
    """AWS leaves `s3:` out."""
    (event,) = parse_line(line("a", name="ObjectRemoved:Delete", source="aws:s3"))
    assert (event.name, event.removed, event.work) == ("s3:ObjectRemoved:Delete", True, True)


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("s3:ObjectCreated:Put", True),
        ("s3:ObjectCreated:Copy", True),
        ("s3:ObjectCreated:CompleteMultipartUpload", True),
        ("s3:ObjectCreated:SomethingNew", True),
        ("s3:ObjectRemoved:Delete", True),
        ("s3:ObjectRemoved:DeleteMarkerCreated", True),
        ("s3:ObjectRemoved:DeleteAllVersions", True),
        ("s3:LifecycleDelMarkerExpiration:Delete", True),
        ("s3:ObjectRemoved:NoOP", False),
        ("s3:ObjectCreated:PutTagging", False),
        ("s3:ObjectCreated:DeleteTagging", False),
        ("s3:ObjectCreated:PutRetention", False),
        ("s3:ObjectCreated:PutLegalHold", False),
        ("s3:ObjectAccessed:Get", False),
        ("s3:Replication:OperationCompletedReplication", False),
        ("s3:BucketRemoved:*", False),
    ],
)
def test_only_what_may_have_changed_an_object_is_work(name: str, work: bool) -> None:
    """Tags, legal holds, reads and deletions of nothing cause no look."""
    assert [event.work for event in parse_line(line("a", name=name))] == [work]


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense",
        b"[1, 2]",
        b"{}",
        b'{"Records":7}',
        b'{"Records":[7]}',
        b'{"Records":[{"eventName":"s3:ObjectCreated:Put"}]}',
        line("a").replace(b'"key": "a"', b'"key": 7'),
        line("a").replace(b'"key": "a"', b'"key": ""'),
        line("a").replace(b'"key": "a"', b'"key": "\\ud800"'),
        line("a").replace(b'"size": 5', b'"size": "5"'),
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=range(12),
)
def test_what_is_no_event_is_unreadable(text: bytes) -> None:
    """One error for all of it, whatever is wrong."""
    with pytest.raises(EventUnreadable):
        parse_line(text)


@UNHURRIED
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(text: bytes) -> None:
    """Garbage is unreadable or says nothing; it never breaks the reader."""
    try:
        assert parse_line(text) == ()
    except EventUnreadable as exc:
        assert exc.code == "event_unreadable"
