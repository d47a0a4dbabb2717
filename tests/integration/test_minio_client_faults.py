"""The store on a bad day: each fault becomes its own error with a remedy, and nothing is lost or half there."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from comfygen.errors import (
    ComfyGenError,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from comfygen.minio_client import MinioStore, StoreSettings
from tests.integration.minio_stage import BUCKET, Stage, large_file, set_stage, settings_for

LATER = datetime.now(UTC) + timedelta(days=1)
VERBS: dict[str, Callable[[MinioStore], Awaitable[object]]] = {
    "put": lambda store: store.put("1.png", b"x", content_type="image/png"),
    "put_if_match": lambda store: store.put_if_match("1.png", b"x", "e"),
    "get": lambda store: store.get("1.png"),
    "head": lambda store: store.head("1.png"),
    "delete": lambda store: store.delete("1.png"),
    "copy": lambda store: store.copy("1.png", "2.png", source_etag="e"),
    "list": lambda store: everything(store),
    "bucket_exists": lambda store: store.bucket_exists(),
    "ensure_bucket": lambda store: store.ensure_bucket(),
    "policy": lambda store: store.policy(),
    "apply_policy": lambda store: store.apply_policy({"Version": "2012-10-17", "Statement": []}),
    "remove_policy": lambda store: store.apply_policy(None),
    "sweep_multipart": lambda store: store.sweep_multipart(LATER),
    "probe_conditional": lambda store: store.probe_conditional("token"),
}


async def everything(store: MinioStore) -> list[str]:
    return [item.key async for item in store.list()]


async def failure(work: Awaitable[object]) -> ComfyGenError:
    """The error that this ends in."""
    try:
        await work
    except ComfyGenError as error:
        return error
    raise AssertionError("it succeeded")


@asynccontextmanager
async def store_at(endpoint: str, **changes: object) -> AsyncIterator[MinioStore]:
    """A store whose server is somewhere else."""
    plain = {"access_key": "a", "secret_key": "s", "attempts": 1, "connect_timeout": 30.0}
    async with MinioStore.open(StoreSettings(endpoint=endpoint, bucket=BUCKET, **(plain | changes))) as store:  # type: ignore[arg-type]
        yield store


@asynccontextmanager
async def server(answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server that is no S3 server; its address."""
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with set_stage() as stage:
        yield stage


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (503, StoreUnavailable),
        ("SlowDownWrite", StoreUnavailable),
        (429, StoreUnavailable),
        ("XMinioStorageFull", StoreFull),
        ("AccessDenied", StoreDenied),
        ("abort", StoreUnavailable),
    ],
)
async def test_every_verb_speaks_our_errors(stage: Stage, answer: int | str, expected: type[StoreError]) -> None:
    """B1, B2: whatever is asked, the server's answer arrives as the one error for it."""
    stage.double.knobs.fail(answer)
    errors = {verb: type(await failure(work(stage.store))) for verb, work in VERBS.items()}
    assert errors == dict.fromkeys(VERBS, expected)


async def test_a_busy_server_is_asked_again(stage: Stage) -> None:
    """A single 503 is nobody's business."""
    stage.double.knobs.status_sequence([503], "PUT")
    async with stage.another(attempts=2) as store:
        await store.put("1.png", b"x", content_type="image/png")
    assert await stage.keys() == ["1.png"]


async def test_a_lost_acknowledgement_of_a_put_is_sent_again(stage: Stage) -> None:
    """B3: an unconditional put overwrites itself."""
    stage.double.knobs.lost_ack("PUT", "*1.png")
    async with stage.another(attempts=2) as store:
        await store.put("1.png", b"x", content_type="image/png")
    assert (await stage.store.get("1.png"))[0] == b"x"


async def test_a_lost_acknowledgement_of_a_claim_is_for_the_caller_to_read(stage: Stage) -> None:
    """B4: sent again, it meets itself: PreconditionFailed, and what is there is ours."""
    stage.double.knobs.lost_ack("PUT", "*claim")
    async with stage.another(attempts=2) as store:
        with pytest.raises(PreconditionFailed):
            await store.put("claim", b"our token", content_type="text/plain", if_none_match=True)
    assert (await stage.store.get("claim"))[0] == b"our token"


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_lost_acknowledgement_of_the_last_part_is_no_failure(
    stage: Stage, tmp_path: Path, attempts: int
) -> None:
    """B23: NoSuchUpload after it means done, when size and sha256 agree."""
    stage.double.knobs.lost_ack("CompleteMultipartUpload")
    async with stage.another(attempts=attempts) as store:
        stored = await store.put("large.mp4", large_file(tmp_path), content_type="video/mp4")
    assert (await stage.store.head("large.mp4")).etag == stored.etag


async def test_a_completed_upload_that_is_not_there_has_failed(stage: Stage, tmp_path: Path) -> None:
    """B23: an older object of that name does not count, and nothing stays behind."""
    await stage.plain("large.mp4", b"older")
    stage.double.knobs.fail(503, "CompleteMultipartUpload")
    with pytest.raises(StoreUnavailable):
        await stage.store.put("large.mp4", large_file(tmp_path), content_type="video/mp4")
    assert (await stage.store.get("large.mp4"))[0] == b"older"
    assert await stage.store.sweep_multipart(LATER) == 0


async def test_a_failed_part_aborts_the_upload(stage: Stage, tmp_path: Path) -> None:
    """B14, B16: no partial object, and no parts that take room."""
    stage.double.knobs.status_sequence([200, "XMinioStorageFull"], "UploadPart")
    with pytest.raises(StoreFull):
        await stage.store.put("large.mp4", large_file(tmp_path), content_type="video/mp4")
    assert (await stage.keys(), await stage.store.sweep_multipart(LATER)) == ([], 0)


async def test_a_body_that_ends_early_is_no_object(stage: Stage) -> None:
    """Half an object is an error, never half the bytes."""
    await stage.plain("1.png", b"x" * 100_000)
    stage.double.knobs.truncate_response("GetObject")
    with pytest.raises(StoreUnavailable):
        await stage.store.get("1.png")
    assert len((await stage.store.get("1.png"))[0]) == 100_000


async def test_a_list_that_ends_early_is_no_list(stage: Stage) -> None:
    """A18: a page cut in the middle of its XML is an error."""
    await stage.plain("1.png")
    stage.double.knobs.truncate_response("List*")
    with pytest.raises(StoreUnavailable):
        await stage.keys()


async def test_a_wrong_clock_is_told_with_its_offset(stage: Stage) -> None:
    """B7: 403 RequestTimeTooSkewed says how wrong, by the server's Date."""
    stage.double.knobs.clock_offset(1200)
    error = await failure(stage.plain("1.png"))
    assert type(error) is StoreDenied
    assert re.match(r"This machine's clock is \d+ min \d+ s behind the server's\.", str(error.hint))


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [({"secret_key": "wrong"}, "The secret key is wrong"), ({"access_key": "nobody"}, "knows no such access key")],
)
async def test_wrong_credentials_are_not_tried_again(stage: Stage, changes: dict[str, str], remedy: str) -> None:
    """B8: one request, one clear word, no storm."""
    async with stage.another(**changes, attempts=5) as store:
        before = len(stage.double.requests)
        for work in (store.head("1.png"), store.get("1.png")):
            error = await failure(work)
            assert (type(error), remedy in str(error.hint)) == (StoreDenied, True)
    assert len(stage.double.requests) - before == 2


async def test_a_denial_names_action_and_object(stage: Stage) -> None:
    """403: what to allow, and on what."""
    stage.double.add_user("reader", "reader-secret", ["s3:GetObject"])
    async with stage.another(access_key="reader", secret_key="reader-secret") as store:
        error = await failure(store.put("1.png", b"x", content_type="image/png"))
    assert "may not do s3:PutObject on art/1.png" in str(error.hint)


async def test_metadata_that_is_too_large_is_refused_by_us(stage: Stage) -> None:
    """Before anything is sent."""
    before = len(stage.double.requests)
    with pytest.raises(StoreError, match="metadata"):
        await stage.store.put("1.png", b"x", content_type="image/png", metadata={"prompt": "x" * 3000})
    assert len(stage.double.requests) == before


async def test_no_checksum_trailers_are_sent(stage: Stage) -> None:
    """B22: many servers refuse aws-chunked bodies, so they are not the default."""
    stage.double.knobs.refuse_chunked()
    await stage.plain("1.png")
    assert await stage.keys() == ["1.png"]


async def test_a_closed_port_is_named(stage: Stage) -> None:
    """B21: opening succeeds, and each request says what to look at."""
    await stage.double.close()
    error = await failure(stage.store.head("1.png"))
    assert (type(error), "Nothing listens there" in str(error.hint)) == (StoreUnavailable, True)


async def test_a_server_that_was_down_is_used_when_it_is_back(stage: Stage) -> None:
    """The same client goes on."""
    await stage.double.close()
    await failure(stage.plain("1.png"))
    await stage.double.open()
    await stage.plain("1.png")
    assert await stage.keys() == ["1.png"]


async def test_tls_with_a_plain_server_is_named(stage: Stage) -> None:
    """B21: https where there is none."""
    async with store_at(stage.double.endpoint.replace("http:", "https:")) as store:
        error = await failure(store.head("1.png"))
    assert (type(error), "TLS failed" in str(error.hint)) == (StoreUnavailable, True)


async def test_a_server_that_never_answers_is_named() -> None:
    """A time-out is no riddle."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with store_at(f"http://127.0.0.1:{silent.getsockname()[1]}", read_timeout=0.2) as store:
            error = await failure(store.head("1.png"))
    assert (type(error), "does not answer in time" in str(error.hint)) == (StoreUnavailable, True)


@pytest.mark.parametrize("verb", ["put", "get", "head", "list", "policy", "copy"])
async def test_what_is_no_s3_server_is_named(verb: str) -> None:
    """A19: a web page with status 200 is no empty listing, and no object."""

    async def page(request: web.BaseRequest) -> web.Response:
        return web.Response(text="<html>Welcome</html>", content_type="text/html")

    async with server(page) as endpoint, store_at(endpoint) as store:
        error = await failure(VERBS[verb](store))
    assert (type(error), "no S3 server" in str(error.hint)) == (StoreUnavailable, True)


@pytest.mark.parametrize(("bucket", "expected"), [(200, NoSuchKey), (403, StoreDenied), (404, NoSuchBucket)])
async def test_a_404_without_a_reason_asks_for_the_bucket(bucket: int, expected: type[StoreError]) -> None:
    """A25: other servers tell no reason, so only a look at the bucket says what is missing."""

    async def bare(request: web.BaseRequest) -> web.Response:
        return web.Response(status=404 if request.path.endswith(".png") else bucket)

    async with server(bare) as endpoint, store_at(endpoint) as store:
        assert [type(await failure(work)) for work in (store.head("1.png"), store.get("1.png"))] == [expected] * 2


async def test_a_listing_without_its_token_is_an_error() -> None:
    """A18: truncated, and no word of where it goes on: not the end of the list."""

    async def forgetful(request: web.BaseRequest) -> web.Response:
        text = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")

    async with server(forgetful) as endpoint, store_at(endpoint) as store:
        with pytest.raises(StoreError, match="ends in the middle"):
            await everything(store)


async def test_opening_sends_nothing() -> None:
    """B21: a daemon starts while its server is down."""
    async with set_stage() as stage, MinioStore.open(settings_for(stage.double)):
        assert stage.double.requests == []
