"""Fetching: input images from web addresses, of hosts that the configuration names and of no others."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from comfygen.errors import ComfyGenError
from comfygend.logs import escaped

MAX_REDIRECTS = 3
PORTS = {"http": 80, "https": 443}
TYPES = ("image/", "application/octet-stream", "binary/octet-stream")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
CHUNK = 64 * 1024
BESIDE = "Put the image beside the request file and name it without a path."


class AddressRefused(ComfyGenError):
    """The address of an input image may not, or cannot, be fetched."""

    code = "input_refused"


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet: not ours, not our network's, nobody's in particular.

    An IPv6 address that stands for an IPv4 address is judged as that one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


async def system_addresses(host: str, port: int) -> list[str]:
    """What the system knows a name by. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]) for *_, place in found]


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Fetches from `hosts`: names, which must not lead into a private network, and addresses, which may.

    A name is resolved once, and the connection goes to that very address: what the name means a moment later is of no
    interest. Every redirect is judged like the address itself.
    """

    hosts: tuple[str, ...]
    max_bytes: int
    seconds: float = 30.0
    addresses: Callable[[str, int], Awaitable[list[str]]] = system_addresses
    is_public: Callable[[str], bool] = is_public

    async def fetch(self, address: str) -> bytes:
        """The bytes behind an address. Raises AddressRefused."""
        try:
            async with asyncio.timeout(self.seconds):
                return await self._follow(address)
        except TimeoutError as exc:
            raise self._refused(address, f"took longer than {self.seconds:.0f} s", "Is its server slow?") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            hint = "Is the address right, and its server there?"
            raise self._refused(address, f"cannot be fetched ({escaped(type(exc).__name__)})", hint) from exc

    async def _follow(self, address: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._hop(address, self._judged(address))
            if isinstance(answer, bytes):
                return answer
            address = answer
        raise self._refused(address, f"is the end of more than {MAX_REDIRECTS} redirects", BESIDE)

    def _judged(self, address: str) -> SplitResult:
        """The parts of an address that may be fetched."""
        parts = urlsplit(address.strip())
        if parts.scheme not in PORTS:
            raise self._refused(address, "is no http:// or https:// address", BESIDE)
        if parts.username is not None or parts.password is not None:
            raise self._refused(address, "has a user name or password in it", BESIDE)
        if (parts.hostname or "").rstrip(".") not in {host.lower() for host in self.hosts}:
            hint = f"`input_hosts` in the configuration names: {', '.join(self.hosts)}. {BESIDE}"
            raise self._refused(address, "is on a host that is not allowed", hint)
        return parts

    async def _place(self, address: str, host: str, port: int) -> str:
        """The one address to connect to. One that the configuration names as an address may be private."""
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            found = await self.addresses(host, port)
        if not found or not all(map(self.is_public, found)):
            hint = "If that is meant, name the address itself in `input_hosts`."
            raise self._refused(address, "leads into a private network", hint)
        return found[0]

    async def _hop(self, address: str, parts: SplitResult) -> bytes | str:
        """The body, or the address that it redirects to."""
        host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
        place = await self._place(address, host.rstrip("."), port)
        connector = aiohttp.TCPConnector(resolver=Pinned(place), force_close=True, use_dns_cache=False)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as session:
            request = session.get(parts.geturl(), allow_redirects=False, headers={"Accept-Encoding": "identity"})
            async with request as response:
                if response.status in {301, 302, 303, 307, 308} and "Location" in response.headers:
                    return urljoin(parts.geturl(), response.headers["Location"])
                return await self._body(address, response)

    async def _body(self, address: str, response: aiohttp.ClientResponse) -> bytes:
        if response.status != 200:
            raise self._refused(address, f"was answered with {response.status}", "Does it open in a browser?")
        if not response.content_type.startswith(TYPES):
            raise self._refused(address, f"is no image but {escaped(response.content_type)}", BESIDE)
        content = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK):
            content += chunk
            if max(len(content), response.content_length or 0) > self.max_bytes:
                raise self._refused(address, f"has more than {self.max_bytes:,} bytes", "Scale it down first.")
        return bytes(content)

    def _refused(self, address: str, why: str, hint: str) -> AddressRefused:
        """The query of an address stays out of it: there are secrets in such."""
        shown = escaped(address.partition("?")[0].partition("#")[0])
        if "@" in shown:
            shown = f"…@{shown.rpartition('@')[2]}"
        return AddressRefused(f"{shown[:200]} {why}.", hint=hint)


class Pinned(AbstractResolver):
    """Knows one address for every name."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        version = ipaddress.ip_address(self.address).version
        return [
            ResolveResult(
                hostname=host,
                host=self.address,
                port=port,
                family=socket.AF_INET6 if version == 6 else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is open."""
