"""The store on a bucket, against a server with MinIO's rules."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from comfygen.bucket_policy import wanted_policy
from comfygen.errors import (
    ConfigInvalid,
    KeyInvalid,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
)
from comfygen.minio_client import ConditionalWrites, MinioStore, StoreSettings
from tests.integration.minio_stage import BUCKET, Stage, large_file, set_stage

KEYS = ["plain.png", "a b+c%20d.png", "100%.png", "q?x=1#f&y<z>.png", "ü/日本 🎨.png", "it's (1), ~=!@;.png"]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with set_stage() as stage:
        yield stage


@pytest.mark.parametrize("key", KEYS)
async def test_every_key_makes_the_round(stage: Stage, key: str) -> None:
    """B18: put, get, head, list, copy and delete agree on the name."""
    etag = await stage.plain(key, key.encode())
    body, got = await stage.store.get(key)
    await stage.store.copy(key, f"copies/{key}", source_etag=etag)
    assert (body, got.key, (await stage.store.head(key)).key) == (key.encode(), key, key)
    assert sorted(await stage.keys()) == sorted([key, f"copies/{key}"])
    await stage.store.delete(key)
    assert await stage.keys() == [f"copies/{key}"]


async def test_an_object_carries_its_type_and_hash(stage: Stage) -> None:
    """Content type, sha256 and the given metadata are there again with get and head."""
    put = await stage.store.put("1.png", b"picture", content_type="image/png", metadata={"job": "j1"})
    expected = {"job": "j1", "sha256": hashlib.sha256(b"picture").hexdigest()}
    for seen in (put, (await stage.store.get("1.png"))[1], await stage.store.head("1.png")):
        assert (seen.etag, seen.size, seen.content_type, dict(seen.metadata)) == (put.etag, 7, "image/png", expected)


async def test_keys_lie_below_the_prefix(stage: Stage) -> None:
    """Everything we do happens below it, and nothing else is seen."""
    async with stage.another(prefix="") as whole:
        await whole.put("elsewhere.png", b"", content_type="image/png")
        await stage.plain("1.png")
        assert [item.key async for item in whole.list()] == ["art/1.png", "elsewhere.png"]
    assert await stage.keys() == ["1.png"]


async def test_a_file_goes_up_in_parts(stage: Stage, tmp_path: Path) -> None:
    """Above the bound it is sent in parts, and the hash is of the whole."""
    path = large_file(tmp_path)
    put = await stage.store.put("large.mp4", path, content_type="video/mp4", metadata={"job": "j"})
    body, got = await stage.store.get("large.mp4")
    assert put.etag.endswith("-3")
    assert hashlib.sha256(body).hexdigest() == got.metadata["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (got.content_type, got.metadata["job"], got.etag) == ("video/mp4", "j", put.etag)


async def test_listing_pages_and_starts_after(stage: Stage) -> None:
    """More than a page is listed in order, from where it is asked for."""
    for number in range(7):
        await stage.plain(f"{number}.png")
    async with stage.another(page=2) as store:
        assert [item.key async for item in store.list()] == [f"{number}.png" for number in range(7)]
        assert [item.key async for item in store.list(start_after="4.png")] == ["5.png", "6.png"]


async def test_listing_tells_what_an_object_is(stage: Stage) -> None:
    """Etag and size as put told them, and an aware time."""
    etag = await stage.plain("1.png", b"12345")
    (item,) = [item async for item in stage.store.list()]
    assert (item.etag, item.size) == (etag, 5)
    assert item.modified is not None
    assert abs(item.modified - datetime.now(UTC)) < timedelta(hours=1)


async def test_a_listing_that_breaks_off_is_an_error(stage: Stage) -> None:
    """A18: page 2 fails, so there is no list; what came before it was only a part."""
    for number in range(5):
        await stage.plain(f"{number}.png")
    stage.double.knobs.list_page_status(2, 503)
    async with stage.another(page=2) as store:
        with pytest.raises(StoreUnavailable):
            [item.key async for item in store.list()]


async def test_direct_listing_leaves_folders_out(stage: Stage) -> None:
    """An inbox is looked at without its done/."""
    for key in ("requests/a.yaml", "requests/done/b.yaml", "1.png"):
        await stage.plain(key)
    assert [item.key async for item in stage.store.list_direct("requests/")] == ["requests/a.yaml"]
    assert [item.key async for item in stage.store.list_direct()] == ["1.png"]


async def test_a_large_object_is_refused_before_reading(stage: Stage) -> None:
    """B12: a sidecar of 50 MB is not fetched; the connection is usable afterwards."""
    await stage.plain("1.png.json", b"x" * 100_000)
    with pytest.raises(StoreError, match="at most 99999"):
        await stage.store.get("1.png.json", max_bytes=99_999)
    assert len((await stage.store.get("1.png.json", max_bytes=100_000))[0]) == 100_000


async def test_a_missing_key_is_no_missing_bucket(stage: Stage) -> None:
    """A25: HEAD says 404 for both; the header tells them apart."""
    with pytest.raises(NoSuchKey):
        await stage.store.head("none.png")
    stage.double.knobs.reset_bucket(BUCKET, recreate=False)
    for work in (stage.store.head("none.png"), stage.store.get("none.png"), stage.plain("1.png"), stage.keys()):
        with pytest.raises(NoSuchBucket, match="comfygen bucket setup"):
            await work


async def test_deleting_nothing_is_no_error(stage: Stage) -> None:
    """Twice is as good as once."""
    await stage.plain("1.png")
    await stage.store.delete("1.png")
    await stage.store.delete("1.png")
    assert await stage.keys() == []


@pytest.mark.parametrize("key", ["", "../x", "a//b", "a\0b", "x" * 256, "x/" * 520 + "x", "/x", "x/", "a\\b"])
async def test_illegal_keys_are_refused_before_anything_is_sent(stage: Stage, key: str) -> None:
    """B19: by every verb."""
    before = len(stage.double.requests)
    for work in (stage.plain(key), stage.store.get(key), stage.store.head(key), stage.store.delete(key)):
        with pytest.raises(KeyInvalid):
            await work
    assert len(stage.double.requests) == before


async def test_only_the_first_of_two_conditional_puts_succeeds(stage: Stage) -> None:
    """If-None-Match: * makes new objects only."""
    await stage.store.put("claim", b"first", content_type="text/plain", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        await stage.store.put("claim", b"second", content_type="text/plain", if_none_match=True)
    assert (await stage.store.get("claim"))[0] == b"first"


async def test_a_conditional_upload_in_parts_fails_as_well(stage: Stage, tmp_path: Path) -> None:
    """The condition is in the Complete; what was sent is given up."""
    await stage.plain("large.mp4", b"first")
    with pytest.raises(PreconditionFailed):
        await stage.store.put("large.mp4", large_file(tmp_path), content_type="video/mp4", if_none_match=True)
    assert await stage.store.sweep_multipart(datetime.now(UTC) + timedelta(days=1)) == 0


async def test_overwriting_by_etag(stage: Stage) -> None:
    """If-Match overwrites exactly what was read; a stale etag loses, a missing key is told."""
    first = await stage.plain("claim", b"first")
    second = await stage.store.put_if_match("claim", b"second", first)
    assert (await stage.store.head("claim")).etag == second.etag
    with pytest.raises(PreconditionFailed):
        await stage.store.put_if_match("claim", b"third", first)
    with pytest.raises(NoSuchKey):
        await stage.store.put_if_match("none", b"x", first)


async def test_copying_is_pinned_to_what_was_read(stage: Stage) -> None:
    """A request that was overwritten meanwhile is not moved as if it were the old one."""
    stale = await stage.plain("requests/a.yaml", b"first")
    etag = await stage.plain("requests/a.yaml", b"second")
    with pytest.raises(PreconditionFailed):
        await stage.store.copy("requests/a.yaml", "requests/done/a.yaml", source_etag=stale)
    copied = await stage.store.copy("requests/a.yaml", "requests/done/a.yaml", source_etag=etag)
    assert (copied.key, copied.size) == ("requests/done/a.yaml", 6)
    with pytest.raises(NoSuchKey):
        await stage.store.copy("none", "x", source_etag=etag)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("", ConditionalWrites.SAFE), ("ignore", ConditionalWrites.IGNORED), ("404", ConditionalWrites.BROKEN)],
)
async def test_conditional_writes_are_probed(stage: Stage, how: str, expected: ConditionalWrites) -> None:
    """B6: three kinds of servers are told apart, and the probe leaves nothing behind."""
    stage.double.knobs.fail_conditional(how)
    assert await stage.store.probe_conditional("token") is expected
    assert await stage.keys() == []


async def test_a_probe_survives_a_lost_acknowledgement(stage: Stage) -> None:
    """Our own first write, sent twice by the transport, is no sign of a broken server."""
    stage.double.knobs.lost_ack("PUT", "*probe*")
    async with stage.another(attempts=3) as store:
        assert await store.probe_conditional("token") is ConditionalWrites.SAFE


async def test_a_server_that_refuses_conditions_is_broken(stage: Stage) -> None:
    """501 for a header is an answer too."""
    stage.double.knobs.status_sequence([501], "PUT")
    assert await stage.store.probe_conditional("token") is ConditionalWrites.BROKEN


async def test_a_bucket_is_made_once(stage: Stage) -> None:
    """And asking again changes nothing."""
    stage.double.knobs.reset_bucket(BUCKET, recreate=False)
    assert [await stage.store.bucket_exists(), await stage.store.ensure_bucket()] == [False, True]
    assert [await stage.store.bucket_exists(), await stage.store.ensure_bucket()] == [True, False]


async def test_a_public_policy_opens_outputs_only(stage: Stage) -> None:
    """People read outputs by their address; requests and our own objects stay closed."""
    for key in ("20260104_011032_a+b ü.png", "requests/a.yaml", ".comfygen/heartbeat-box"):
        await stage.plain(key, b"body")
    await stage.store.apply_policy(wanted_policy("public", bucket=BUCKET, prefix="art/"))
    async with aiohttp.ClientSession() as people:
        seen = {}
        for key in await stage.keys():
            async with people.get(URL(stage.store.url(key), encoded=True)) as answer:
                seen[key] = answer.status
    assert seen == {"20260104_011032_a+b ü.png": 200, "requests/a.yaml": 403, ".comfygen/heartbeat-box": 403}


async def test_a_policy_is_read_set_and_removed(stage: Stage) -> None:
    """None is no policy."""
    assert await stage.store.policy() is None
    await stage.store.apply_policy(wanted_policy("public", bucket=BUCKET))
    document = await stage.store.policy()
    assert document is not None
    assert "Statement" in document
    await stage.store.apply_policy(None)
    assert await stage.store.policy() is None


async def test_presigned_addresses_open_a_private_object(stage: Stage) -> None:
    """Whoever has the link reads; without its signature nobody does."""
    async with stage.another(policy="presigned") as store, aiohttp.ClientSession() as people:
        await store.put("a b+ü.png", b"body", content_type="image/png")
        url = store.url("a b+ü.png")
        async with people.get(URL(url, encoded=True)) as answer:
            assert (answer.status, await answer.read()) == (200, b"body")
        async with people.get(URL(url.partition("?")[0], encoded=True)) as answer:
            assert answer.status == 403


async def test_abandoned_uploads_are_swept(stage: Stage) -> None:
    """B16: those that began before a time, below our prefix."""
    s3 = stage.store._s3
    await s3.create_multipart_upload(Bucket=BUCKET, Key="art/large.mp4")
    assert await stage.store.sweep_multipart(datetime.now(UTC) - timedelta(days=1)) == 0
    assert await stage.store.sweep_multipart(datetime.now(UTC) + timedelta(days=1)) == 1
    assert await stage.store.sweep_multipart(datetime.now(UTC) + timedelta(days=1)) == 0


async def test_a_prefix_with_dots_lists_nothing(stage: Stage) -> None:
    """MinIO refuses to look there; there can be nothing."""
    assert await stage.keys("../") == []


async def test_half_credentials_are_refused_at_once() -> None:
    """A configuration mistake, not a riddle of signatures."""
    with pytest.raises(ConfigInvalid):
        async with MinioStore.open(StoreSettings(endpoint="http://127.0.0.1:1", bucket="b", access_key="a")):
            pass
