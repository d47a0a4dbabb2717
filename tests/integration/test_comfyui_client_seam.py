"""No exception of the HTTP library leaves the client, whatever answers at the address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from comfygen.comfyui_client import ComfyUIClient, OutputRef
from comfygen.comfyui_client.transport import TRANSLATIONS, translation
from comfygen.errors import ComfyUIError, ComfyUIUnavailable, OutputMissing

OK = b"HTTP/1.1 200 OK\r\n"
EVIL = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": OK + b"Content-Length: 100\r\n\r\n{",
    "bad length": OK + b"Content-Length: many\r\n\r\n{}",
    "bad chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
    "no gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    "endless header": OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    "redirect to nowhere": b"HTTP/1.1 302 Found\r\nLocation: ftp://[/\r\nContent-Length: 0\r\n\r\n",
    "binary": bytes(range(256)) * 10,
}


@asynccontextmanager
async def _answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says the same to everybody and hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("name", EVIL)
async def test_bad_answers_become_our_errors(name: str, tmp_path: Path) -> None:
    """Every kind of question to every kind of bad server ends in an error of ours."""
    output = OutputRef(node="7", key="images", index=0, filename="a.png")
    async with _answering(EVIL[name]) as url, ComfyUIClient(url, timeout=30) as client:
        with pytest.raises(ComfyUIUnavailable):
            await client.server()
        with pytest.raises((ComfyUIUnavailable, OutputMissing)):
            await client.fetch(output, tmp_path / "a.part")
        with pytest.raises(ComfyUIError):
            await client.upload_image("a.png", b"x")
        assert await client.connect() is False


async def test_a_closed_port_is_unavailable() -> None:
    """Nobody listens: the message names the address and what to check."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with ComfyUIClient(url) as client:
        with pytest.raises(ComfyUIUnavailable, match="cannot be reached") as caught:
            await client.server()
    assert (url in caught.value.message, caught.value.hint) == (True, "Is ComfyUI running there?")


async def test_a_server_that_never_answers_is_unavailable() -> None:
    """Silence is bounded by the timeout."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with ComfyUIClient(url, timeout=0.05) as client:
            with pytest.raises(ComfyUIUnavailable, match="in time"):
                await client.server()


@pytest.mark.parametrize("url", ["", "localhost:8188", "ftp://127.0.0.1", "http://", "http://[", "/system_stats"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    """A wrong address is told before anything is asked."""
    with pytest.raises(ComfyUIError, match="no address"):
        ComfyUIClient(url)


async def test_passwords_in_the_address_are_not_shown() -> None:
    """The address in messages is without user name and password."""
    async with _answering(b"") as url:
        secret = url.replace("http://", "http://someone:secret@")
        async with ComfyUIClient(secret) as client:
            with pytest.raises(ComfyUIUnavailable) as caught:
                await client.server()
        assert ("secret" in str(caught.value), client.url) == (False, url)


async def test_a_client_that_is_not_open_says_so() -> None:
    """Forgetting `async with` is our error too."""
    with pytest.raises(ComfyUIError, match="not open"):
        await ComfyUIClient("http://127.0.0.1:1").server()


def _family(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for child in base.__subclasses__():
        yield from _family(child)


@pytest.mark.parametrize("kind", [*_family(aiohttp.ClientError), TimeoutError, ConnectionResetError])
def test_every_exception_of_the_library_has_a_translation(kind: type[Exception]) -> None:
    """Each of them becomes one of ours, and all but bad addresses can be retried."""
    expected = not issubclass(kind, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError))
    assert translation(kind).error.retryable is expected


def test_no_translation_hides_another() -> None:
    """Particular exceptions stand above general ones."""
    seen: list[type[Exception]] = []
    for row in TRANSLATIONS:
        assert not any(issubclass(row.foreign, earlier) for earlier in seen)
        seen.append(row.foreign)


@pytest.mark.parametrize("place", ["127.0.0.1:99999", "[::1:9", "127.0.0.1:9", "nobody.invalid:9"])
async def test_the_password_in_an_address_is_in_no_error(place: str) -> None:
    """However wrong the address is: errors are logged, and told by /status."""
    with pytest.raises(ComfyUIError) as caught:
        async with ComfyUIClient(f"http://robot:sesame@{place}") as client:
            await client.server()
    assert "sesame" not in str(caught.value)
