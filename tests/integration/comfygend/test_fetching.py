"""Input images from addresses: only from hosts that are named, never from a private network, never too much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from comfygen.config import load_config
from comfygend.fetching import AddressRefused, Fetcher, is_public
from comfygend.inputs import InputRefused, SpooledInputs
from tests import making
from tests.integration.comfygend.memory import MemoryStore

PICTURE = making.picture(8, 8)
HERE, THERE = "127.0.0.2", "127.0.0.3"


@dataclass
class Site:
    """A web server on an address of 127/8, and what it was asked."""

    host: str
    port: int = 0
    asked: list[str] = field(default_factory=list)

    def url(self, path: str = "/car.png", host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"


async def _answer(site: Site, request: web.BaseRequest) -> web.StreamResponse:
    site.asked.append(f"{request.host.partition(':')[0]}{request.path}")
    match request.path:
        case "/car.png":
            return web.Response(body=PICTURE, content_type="image/png")
        case "/page":
            return web.Response(text="<html>", content_type="text/html")
        case "/big.png":
            return web.Response(body=bytes(5000), content_type="image/png")
        case "/endless.png":
            return await _endless(request)
        case "/slow.png":
            await asyncio.sleep(60)
        case "/to":
            return web.Response(status=302, headers={"Location": request.query["url"]})
        case "/loop":
            return web.Response(status=307, headers={"Location": "/loop"})
    return web.Response(status=404)


async def _endless(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/png"})
    await response.prepare(request)
    while True:
        await response.write(bytes(100_000))


@asynccontextmanager
async def serving(host: str = HERE, port: int = 0) -> AsyncIterator[Site]:
    """Serve until the block ends."""
    site = Site(host)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await _answer(site, request)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    site.port = runner.addresses[0][1]
    try:
        yield site
    finally:
        await runner.cleanup()


def fetcher(*hosts: str, seconds: float = 30.0, **more: Callable[..., Awaitable[list[str]]]) -> Fetcher:
    """One that takes 4000 bytes at most."""
    return Fetcher(hosts=hosts, max_bytes=4000, seconds=seconds, **more)  # type: ignore[arg-type]


async def refused(fetching: Fetcher, address: str) -> str:
    """Why an address is not fetched."""
    with pytest.raises(AddressRefused) as caught:
        await fetching.fetch(address)
    assert caught.value.hint
    return caught.value.message


async def test_an_image_of_a_host_that_is_named_is_fetched() -> None:
    """An address that the configuration names as it is may be private: that is what it was named for."""
    async with serving() as site:
        assert await fetcher(HERE).fetch(site.url()) == PICTURE


async def test_addresses_are_off_by_default(tmp_path: Path) -> None:
    """Nobody is asked, and the query, which may hold a secret, is not repeated."""
    assert load_config(None, {}).input_hosts == ()
    inputs = SpooledInputs(tmp_path, allowed=[], store=MemoryStore())
    async with serving() as site:
        with pytest.raises(InputRefused, match="addresses are not fetched") as caught:
            await inputs.read(site.url("/car.png?token=geheim"))
    assert site.asked == []
    assert "geheim" not in caught.value.message


async def test_a_host_that_is_not_named_is_never_asked() -> None:
    """Neither under another address of the same machine, nor in another spelling of it."""
    async with serving() as site:
        for host in ("127.0.0.3", "localhost", "2130706434", "0x7f000002", "127.2", "[::ffff:127.0.0.2]"):
            assert "not allowed" in await refused(fetcher("127.0.0.9"), site.url(host=host))
        assert site.asked == []


@pytest.mark.parametrize(
    "address", ["ftp://x/a.png", "file:///etc/passwd", "data:image/png,x", "gopher://x/_", "//x/a"]
)
async def test_only_http_is_spoken(address: str) -> None:
    """Whatever the hosts."""
    assert "is no http" in await refused(fetcher("x", ""), address)


async def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    """It would stand in sidecars and logs."""
    assert "geheim" not in await refused(fetcher(HERE), f"http://me:geheim@{HERE}/car.png")


async def names_of(*answers: str) -> tuple[list[str], Callable[[str, int], Awaitable[list[str]]]]:
    """A name server that gives one answer after the other, and what it was asked."""
    asked: list[str] = []

    async def addresses(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1].split()

    return asked, addresses


@pytest.mark.parametrize("answer", ["127.0.0.2", "93.184.215.14 10.0.0.1", "::1", "169.254.169.254", ""])
async def test_a_name_that_leads_into_a_private_network_is_refused(answer: str) -> None:
    """With all of its addresses public only; one that is not is enough."""
    _, addresses = await names_of(answer)
    async with serving() as site:
        fetching = fetcher("images.example", addresses=addresses)
        assert "private network" in await refused(fetching, site.url(host="images.example"))
        assert site.asked == []


async def test_a_name_is_asked_for_once_and_its_answer_is_where_the_connection_goes() -> None:
    """A second answer, which would lead elsewhere, is never heard."""
    asked, addresses = await names_of(HERE, THERE)
    async with serving() as site, serving(THERE, site.port) as other:
        fetching = fetcher("images.example", addresses=addresses)
        fetching = Fetcher(**{**vars(fetching), "is_public": lambda address: address == HERE})
        assert await fetching.fetch(site.url(host="images.example")) == PICTURE
        assert (asked, site.asked, other.asked) == (["images.example"], ["images.example/car.png"], [])


async def test_a_redirect_is_judged_like_an_address() -> None:
    """It may lead to another host that is named, and nowhere else."""
    async with serving() as site, serving(THERE, site.port) as other:
        there = site.url(f"/to?url={other.url()}")
        assert await fetcher(HERE, THERE).fetch(there) == PICTURE
        assert "not allowed" in await refused(fetcher(HERE), there)
        assert "is no http" in await refused(fetcher(HERE), site.url("/to?url=file:///etc/passwd"))
        assert len(other.asked) == 1


async def test_redirects_have_an_end() -> None:
    """After three of them."""
    async with serving() as site:
        assert "redirects" in await refused(fetcher(HERE), site.url("/loop"))
        assert len(site.asked) == 4


@pytest.mark.parametrize(
    ("path", "why"),
    [("/big.png", "more than"), ("/endless.png", "more than"), ("/page", "text/html"), ("/none.png", "404")],
)
async def test_what_is_too_much_or_no_image_is_refused(path: str, why: str) -> None:
    """Before it is read, where the server says so itself."""
    async with serving() as site:
        assert why in await refused(fetcher(HERE), site.url(path))


async def test_a_server_that_is_slow_or_not_there_is_given_up() -> None:
    """Nothing waits for it for ever."""
    async with serving() as site:
        assert "took longer" in await refused(fetcher(HERE, seconds=0.2), site.url("/slow.png"))
    assert "cannot be fetched" in await refused(fetcher(HERE), site.url())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("127.8.9.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:a00:1::", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d70e", True),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    """An IPv4 address inside an IPv6 address counts as itself."""
    assert is_public(address) is public
