"""The client's single questions: server, node classes, upload, free."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from comfygen.comfyui_client import ComfyUIClient, Patience
from comfygen.comfyui_client import client as client_module
from comfygen.errors import ComfyUIError, ComfyUIUnavailable, PreflightFailed
from comfygen.graph import with_input
from tests.comfyui_fake import FakeComfyUI, faking
from tests.replay import graph, recording, replayed

LORAS = graph("flux-dev.two-loras")
Served = tuple[FakeComfyUI, ComfyUIClient]


@pytest.fixture(name="served")
async def _served() -> AsyncIterator[Served]:
    async with faking() as (fake, url), ComfyUIClient(url, patience=Patience()) as client:
        yield fake, client


async def test_the_server_is_asked_once(served: Served) -> None:
    """Its version is kept until a refresh."""
    fake, client = served
    first = await client.server()
    fake.version = "0.28.1"
    kept, fresh = await client.server(), await client.server(refresh=True)
    assert [first.version, kept.version, fresh.version] == ["0.5.0", "0.5.0", "0.28.1"]


@pytest.mark.parametrize("status", [404, 401, 302, 500])
async def test_whatever_is_no_comfyui_is_unavailable(served: Served, status: int) -> None:
    """Another program at that address counts as a server that is away."""
    fake, client = served

    async def other(request: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>hello</html>", headers={"Location": "/elsewhere"})

    fake.instead["/system_stats"] = other
    with pytest.raises(ComfyUIUnavailable):
        await client.server()


@pytest.mark.parametrize("text", ["", "<html>", "[" * 100_000, '{"a"', "\ud800"])
async def test_an_answer_that_is_no_json_is_unavailable(served: Served, text: str) -> None:
    """A proxy's page, an empty or a broken body: no ComfyUI speaks there."""
    fake, client = served

    async def babble(request: web.Request) -> web.Response:
        return web.Response(body=text.encode("utf-8", "surrogatepass"))

    fake.instead["/queue"] = babble
    with pytest.raises(ComfyUIUnavailable, match="is no ComfyUI"):
        await client.queue()


async def test_bare_nan_in_the_history_is_read(served: Served) -> None:
    """ComfyUI echoes NaN, which is no valid JSON."""
    fake, client = served

    async def history(request: web.Request) -> web.Response:
        return web.Response(text='{"p": {"prompt": [NaN], "outputs": {}, "status": {"status_str": "success"}}}')

    fake.instead["/history/"] = history
    result = await client.result("p")
    assert result is not None
    assert result.status == "success"


def _classes(fake: FakeComfyUI) -> list[int]:
    """Serve the recorded node classes, whose LoRAs grow by one with each fetch; the list counts the fetches."""
    fetches: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        fetches.append(1)
        classes = recording("v0.28.1/01-object-info")["classes"]
        names = [f"new_{n}.safetensors" for n in range(len(fetches))]
        classes["LoraLoader"]["input"]["required"]["lora_name"][0] += names
        return web.json_response(classes)

    fake.instead["/object_info"] = answer
    return fetches


async def test_node_classes_are_fetched_once(served: Served) -> None:
    """They are large, so they are kept."""
    fake, client = served
    fetches = _classes(fake)
    for _ in range(3):
        await client.preflight(LORAS)
    assert len(fetches) == 1


async def test_a_miss_fetches_the_node_classes_anew(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A LoRA that was just added is found, once the kept copy is not of this very moment."""
    fake, client = served
    fetches = _classes(fake)
    await client.preflight(LORAS)
    monkeypatch.setattr(client_module, "OBJECT_INFO_FRESH", -1.0)
    await client.preflight(with_input(LORAS, "100", "lora_name", "new_1.safetensors"))
    assert len(fetches) == 2


async def test_a_missing_lora_fails_before_anything_is_sent(served: Served) -> None:
    """The error names the LoRA, and a fresh copy of the node classes is believed."""
    fake, client = served
    fetches = _classes(fake)
    with pytest.raises(PreflightFailed, match=r"LoRA 'castle\.safetensors' is not installed"):
        await client.preflight(with_input(LORAS, "100", "lora_name", "castle.safetensors"))
    assert (len(fetches), fake.posted) == (1, [])


async def test_classes_that_the_server_rewrites_pass(served: Served) -> None:
    """Since 0.14.0 a server tells which old classes it replaces."""
    fake, client = served
    _classes(fake)
    fake.version = "0.14.0"

    async def replacements(request: web.Request) -> web.Response:
        return web.json_response({"OldDecode": [{"new_node_id": "VAEDecode"}]})

    fake.instead["/node_replacements"] = replacements
    old = {**LORAS, "6": {**LORAS["6"], "class_type": "OldDecode"}}
    await client.preflight(old)


async def test_recorded_uploads_return_the_name_to_use() -> None:
    """The same bytes keep their name, others get a new one, a subfolder belongs to the name."""
    async with replayed("v0.28.1/06-upload-img2img") as (_, url), ComfyUIClient(url) as client:
        names = [await client.upload_image("source.png", b"picture") for _ in range(7)]
    expected = ["source.png", "source.png", "source (1).png", "source (1).png", "source.png", "source (2).png"]
    assert names == [*expected, "comfygen/req-1/source.png"]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("sp ace ü.png", "sp_ace__.png"),
        ("../../evil.png", "_.._evil.png"),
        ("C:\\x\\win.png", "C__x_win.png"),
        ('a"b\r\n.png', "a_b__.png"),
        ("...", "image"),
    ],
)
async def test_uploads_go_under_plain_names(served: Served, name: str, plain: str) -> None:
    """Characters that servers and proxies treat in their own ways are not sent."""
    fake, client = served
    fields: dict[str, object] = {}

    async def keep(request: web.Request) -> web.Response:
        form = await request.post()
        image = form["image"]
        assert isinstance(image, web.FileField)
        fields.update(name=image.filename, content=image.file.read(), type=form["type"])
        return web.json_response({"name": image.filename, "subfolder": "", "type": "input"})

    fake.instead["/upload/image"] = keep
    assert await client.upload_image(name, b"\x89PNG") == plain
    assert fields == {"name": plain, "content": b"\x89PNG", "type": "input"}


@pytest.mark.parametrize(("status", "error"), [(400, ComfyUIError), (500, ComfyUIUnavailable), (200, ComfyUIError)])
async def test_an_upload_that_fails_says_so(served: Served, status: int, error: type[Exception]) -> None:
    """Refused, failed, or answered without a name."""
    fake, client = served

    async def refuse(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({}, status=status)

    fake.instead["/upload/image"] = refuse
    with pytest.raises(error):
        await client.upload_image("a.png", b"x")


async def test_memory_is_given_back(served: Served) -> None:
    """`free_memory` is what makes a server read replaced files anew."""
    fake, client = served
    bodies: list[object] = []

    async def free(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response()

    fake.instead["/free"] = free
    await client.free()
    await client.free(unload_models=False)
    both, one = {"unload_models": True, "free_memory": True}, {"unload_models": False, "free_memory": True}
    assert bodies == [both, one]


async def test_a_lent_session_stays_open() -> None:
    """Whoever made the session closes it."""
    async with faking() as (_, url), aiohttp.ClientSession() as session:
        async with ComfyUIClient(url, session=session) as client:
            await client.server()
        assert not session.closed


async def test_a_prefix_in_the_address_is_kept() -> None:
    """A ComfyUI behind a proxy's path is asked under that path."""
    async with faking() as (fake, url), ComfyUIClient(f"{url}/queue/") as client:
        with pytest.raises(ComfyUIUnavailable):
            await client.server()
        assert fake.asked == [("GET", "/queue/system_stats")]
