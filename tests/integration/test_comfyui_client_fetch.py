"""The client fetches output files: whole, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from comfygen.comfyui_client import ComfyUIClient, OutputRef
from comfygen.errors import ComfyUIUnavailable, OutputMissing
from tests.comfyui_fake import FakeComfyUI, Handler, faking, reset
from tests.replay import replayed

OUTPUT = OutputRef(node="7", key="images", index=0, filename="sd15_00001_.png", subfolder="cg")
Served = tuple[FakeComfyUI, ComfyUIClient]


@pytest.fixture(name="served")
async def _served() -> AsyncIterator[Served]:
    async with faking() as (fake, url), ComfyUIClient(url) as client:
        yield fake, client


async def test_a_recorded_output_is_fetched(tmp_path: Path) -> None:
    """File name, subfolder and type are asked for as the history gave them; the size comes back."""
    async with replayed("v0.28.1/02b-view") as (replay, url), ComfyUIClient(url) as client:
        size = await client.fetch(OUTPUT, tmp_path / "a.part")
    assert replay.asked == [("GET", "/view?filename=sd15_00001_.png&subfolder=cg&type=output")]
    assert size == (tmp_path / "a.part").stat().st_size == 4817


async def test_file_names_are_quoted(served: Served, tmp_path: Path) -> None:
    """Names with blanks, ampersands and other letters arrive as they are."""
    fake, client = served
    asked: dict[str, str] = {}

    async def view(request: web.Request) -> web.Response:
        asked.update(request.query)
        return web.Response(body=b"x")

    fake.instead["/view"] = view
    await client.fetch(
        OutputRef(node="7", key="images", index=0, filename="a&b ü+.png", subfolder="x/y z"), tmp_path / "a"
    )
    assert asked == {"filename": "a&b ü+.png", "subfolder": "x/y z", "type": "output"}


async def test_large_files_pass(served: Served, tmp_path: Path) -> None:
    """A file of many chunks arrives byte for byte."""
    fake, client = served
    content = bytes(range(256)) * 20_000

    async def view(request: web.Request) -> web.Response:
        return web.Response(body=content)

    fake.instead["/view"] = view
    assert await client.fetch(OUTPUT, tmp_path / "a") == len(content)
    assert (tmp_path / "a").read_bytes() == content


async def _short(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 10)
    return reset(request)


async def _cut_chunks(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b"x" * 10)
    return reset(request)


async def _empty(request: web.Request) -> web.StreamResponse:
    return web.Response()


async def _gone(request: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


async def _forbidden(request: web.Request) -> web.StreamResponse:
    return web.Response(status=403)


async def _broken(request: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


@pytest.mark.parametrize("view", [_short, _cut_chunks, _empty, _gone, _forbidden])
async def test_a_file_that_is_gone_empty_or_cut_off_is_missing(served: Served, tmp_path: Path, view: Handler) -> None:
    """None of them is taken for an output, and all can be retried."""
    fake, client = served
    fake.instead["/view"] = view
    with pytest.raises(OutputMissing) as caught:
        await client.fetch(OUTPUT, tmp_path / "a.part")
    assert caught.value.retryable


async def test_a_server_that_fails_over_a_file_is_unavailable(served: Served, tmp_path: Path) -> None:
    """A 5xx says nothing about the file."""
    fake, client = served
    fake.instead["/view"] = _broken
    with pytest.raises(ComfyUIUnavailable):
        await client.fetch(OUTPUT, tmp_path / "a.part")


async def test_errors_of_the_local_disk_stay_what_they_are(served: Served, tmp_path: Path) -> None:
    """A folder that does not exist is not ComfyUI's fault."""
    fake, client = served

    async def view(request: web.Request) -> web.Response:
        return web.Response(body=b"x")

    fake.instead["/view"] = view
    with pytest.raises(FileNotFoundError):
        await client.fetch(OUTPUT, tmp_path / "absent" / "a.part")
