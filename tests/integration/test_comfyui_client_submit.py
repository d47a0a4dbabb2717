"""Posting a prompt when something goes wrong: refused for good, or worth another try."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiohttp import web

from comfygen.comfyui_client import ComfyUIClient, PromptState
from comfygen.errors import ComfyUIUnavailable, PromptRefused
from tests.comfyui_fake import FakeComfyUI, faking, reset
from tests.replay import graph

SD15 = graph("flux-dev")
Served = tuple[FakeComfyUI, ComfyUIClient]


@pytest.fixture(name="served")
async def _served() -> AsyncIterator[Served]:
    async with faking() as (fake, url), ComfyUIClient(url) as client:
        yield fake, client


async def test_a_line_cut_before_the_prompt_is_queued(served: Served) -> None:
    """The server never saw it: unavailable now, and absent when it is asked."""
    fake, client = served

    async def cut(request: web.Request) -> web.Response:
        return reset(request)

    fake.instead["/prompt"] = cut
    prompt_id = str(uuid4())
    with pytest.raises(ComfyUIUnavailable):
        await client.submit(SD15, prompt_id=prompt_id)
    assert await client.state(prompt_id) is PromptState.ABSENT


async def test_a_line_cut_after_the_prompt_is_queued(served: Served) -> None:
    """Only the answer was lost: the state tells, and the prompt can be waited for without posting it again."""
    fake, client = served

    async def cut(request: web.Request) -> web.Response:
        fake.running.append((await request.json())["prompt_id"])
        return reset(request)

    fake.instead["/prompt"] = cut
    prompt_id = str(uuid4())
    with pytest.raises(ComfyUIUnavailable):
        await client.submit(SD15, prompt_id=prompt_id)
    assert await client.state(prompt_id) is PromptState.RUNNING
    fake.succeed(prompt_id)
    assert (await client.wait(prompt_id)).status == "success"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (web.json_response({"error": {"type": "x", "message": "bad"}, "node_errors": {}}, status=400), PromptRefused),
        (web.Response(status=500, text="500 Internal Server Error\n\nServer got itself in trouble"), PromptRefused),
        (web.Response(status=413, text="Request Entity Too Large"), PromptRefused),
        (web.Response(status=502, text="<html>bad gateway</html>"), ComfyUIUnavailable),
        (web.Response(status=503), ComfyUIUnavailable),
    ],
)
async def test_refused_and_unavailable_are_told_apart(
    served: Served, answer: web.Response, error: type[Exception]
) -> None:
    """What is wrong with the prompt will not be better next time; what is wrong with the server may be."""
    fake, client = served

    async def no(request: web.Request) -> web.Response:
        return answer

    fake.instead["/prompt"] = no
    with pytest.raises(error):
        await client.submit(SD15, prompt_id=str(uuid4()))


async def test_a_graph_that_is_no_json_is_refused(served: Served) -> None:
    """Values that JSON cannot carry never reach the server."""
    fake, client = served
    bad = {**SD15, "5": {"class_type": "KSampler", "inputs": {"cfg": float("nan")}}}
    with pytest.raises(PromptRefused, match="no JSON"):
        await client.submit(bad, prompt_id=str(uuid4()))
    assert fake.posted == []
