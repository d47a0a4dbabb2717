"""HTTP to one ComfyUI server; every exception of the HTTP library leaves as one of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from comfygen.comfyui_client.shapes import as_mapping, as_text
from comfygen.errors import ComfyUIError, ComfyUIUnavailable, OutputMissing

CHUNK = 1 << 20
RUNNING = "Is ComfyUI running there?"
ADDRESS = "Check the address of this backend."


class Translation(NamedTuple):
    """A foreign exception and what becomes of it."""

    foreign: type[Exception]
    error: type[ComfyUIError]
    message: str
    hint: str | None = None


# The first row that fits counts: particular exceptions stand above general ones.
TRANSLATIONS = (
    Translation(aiohttp.ServerTimeoutError, ComfyUIUnavailable, "did not answer in time", RUNNING),
    Translation(aiohttp.ClientConnectorDNSError, ComfyUIUnavailable, "has a host name that nobody knows", ADDRESS),
    Translation(aiohttp.ClientSSLError, ComfyUIUnavailable, "failed the TLS handshake", ADDRESS),
    Translation(aiohttp.ServerFingerprintMismatch, ComfyUIUnavailable, "shows another certificate", ADDRESS),
    Translation(aiohttp.ClientConnectorError, ComfyUIUnavailable, "cannot be reached", RUNNING),
    Translation(aiohttp.ClientConnectionError, ComfyUIUnavailable, "closed the connection", RUNNING),
    Translation(aiohttp.ClientPayloadError, ComfyUIUnavailable, "broke off in the middle of its answer", RUNNING),
    Translation(aiohttp.WSServerHandshakeError, ComfyUIUnavailable, "refused the websocket"),
    Translation(aiohttp.ClientResponseError, ComfyUIUnavailable, "did not answer as a web server does", ADDRESS),
    Translation(aiohttp.InvalidURL, ComfyUIError, "is no valid address", ADDRESS),
    Translation(aiohttp.NonHttpUrlClientError, ComfyUIError, "is no http address", ADDRESS),
    Translation(aiohttp.ClientError, ComfyUIUnavailable, "could not be asked", RUNNING),
    Translation(TimeoutError, ComfyUIUnavailable, "did not answer in time", RUNNING),
    Translation(ConnectionError, ComfyUIUnavailable, "closed the connection", RUNNING),
)
FOREIGN = tuple(row.foreign for row in TRANSLATIONS)


def translation(kind: type[Exception]) -> Translation:
    """The row for a kind of foreign exception."""
    return next(row for row in TRANSLATIONS if issubclass(kind, row.foreign))


def translate(exc: Exception, server: str) -> ComfyUIError:
    """Our error for a foreign one; `server` is the address to show."""
    row = translation(type(exc))
    detail = "" if isinstance(exc, aiohttp.InvalidURL) else f" ({exc})" if str(exc) else ""  # there may be a password
    return row.error(f"ComfyUI at {server} {row.message}{detail}.", hint=row.hint)


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Foreign exceptions inside leave as ours."""
    try:
        yield
    except FOREIGN as exc:
        raise translate(exc, server) from exc


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole HTTP answer."""

    server: str
    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body for people, cut."""
        return " ".join(self.body[:2000].decode("utf-8", "replace").split())[:300]

    def json(self) -> Any:
        """The body as JSON. Bare `NaN` passes: ComfyUI echoes it. Anything that is no JSON means that no ComfyUI
        answered."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as exc:
            message = f"What answers at {self.server} is no ComfyUI: {self.text or '(empty answer)'}"
            raise ComfyUIUnavailable(message, hint=ADDRESS) from exc

    def loose_json(self) -> Mapping[str, Any]:
        """The body as a JSON object, empty when it is none."""
        try:
            return as_mapping(self.json())
        except ComfyUIUnavailable:
            return {}

    def error(self, what: str) -> ComfyUIError:
        """This answer as an error: 5xx is a server that cannot now, anything else one that will not."""
        reason = as_text(self.loose_json().get("error")) or self.text
        message = f"ComfyUI at {self.server} answered {self.status} to {what}{': ' if reason else '.'}{reason}"
        if self.status >= 500:
            return ComfyUIUnavailable(message, hint="Look into ComfyUI's log.")
        redirect = "Use the address it redirects to." if 300 <= self.status < 400 else None
        return ComfyUIError(message, hint=redirect or ADDRESS)

    def expect_ok(self, what: str) -> Answer:
        """This answer if it is a 200, else its error."""
        if self.status != 200:
            raise self.error(what)
        return self


class Transport:
    """Requests to one server over one session: the caller's, or one of its own that lives from open to close."""

    def __init__(self, url: str, *, session: aiohttp.ClientSession | None, timeout: float) -> None:
        self.url = url.rstrip("/")
        self.server = _shown(self.url)
        self.timeout = timeout
        self._lent = session
        self._own: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session."""
        session = self._lent or self._own
        if session is None:
            raise ComfyUIError(f"The client of {self.server} is not open.", hint="Use it inside `async with`.")
        return session

    async def open(self) -> None:
        if self._lent is None and self._own is None:
            self._own = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        if self._own is not None:
            own, self._own = self._own, None
            await own.close()

    async def get(self, path: str) -> Answer:
        """GET, the whole answer whatever its status."""
        return await self._ask("GET", path, None)

    async def post(self, path: str, body: object) -> Answer:
        """POST a JSON body, the whole answer whatever its status. The body must be JSON without NaN."""
        return await self._ask("POST", path, json.dumps(body, allow_nan=False).encode())

    async def upload(self, path: str, name: str, content: bytes) -> Answer:
        """POST a file as the multipart field `image`; as slow as the line is, but never silent."""
        form = aiohttp.FormData({"type": "input"}, quote_fields=False)
        form.add_field("image", content, filename=name, content_type="application/octet-stream")
        return await self._ask("POST", path, form)

    async def _ask(self, method: str, path: str, data: bytes | aiohttp.FormData | None) -> Answer:
        headers = {"Content-Type": "application/json"} if isinstance(data, bytes) else None
        timeout = self._patient if isinstance(data, aiohttp.FormData) else aiohttp.ClientTimeout(total=self.timeout)
        with translated(self.server):
            async with self.session.request(
                method, self.url + path, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return Answer(server=self.server, status=response.status, body=await response.read())

    @property
    def _patient(self) -> aiohttp.ClientTimeout:
        """For long bodies: no limit in total, but on every silence."""
        return aiohttp.ClientTimeout(total=None, sock_connect=self.timeout, sock_read=self.timeout)

    async def download(self, path: str, params: Mapping[str, str], target: Path) -> int:
        """GET a file into `target`; its size. A file that is absent, empty or cut off is OutputMissing.

        Errors of the local disk leave as the OSError that they are.
        """
        name, headers = params["filename"], {"Accept-Encoding": "identity"}
        if any("\ud800" <= char <= "\udfff" for value in params.values() for char in value):
            raise OutputMissing(f"{name!r} is a name that cannot be asked for.")
        with translated(self.server):
            async with self.session.get(
                self.url + path, params=params, headers=headers, timeout=self._patient, allow_redirects=False
            ) as response:
                if response.status >= 500:
                    raise Answer(server=self.server, status=response.status, body=b"").error(f"GET {path} of {name}")
                if response.status != 200:
                    raise OutputMissing(f"{name} is not there any more (HTTP {response.status}).")
                size = await _pour(response, target)
        if size == 0 or size < (response.content_length or 0):
            raise OutputMissing(f"{name} arrived with {size} of {response.content_length or 'unknown'} bytes.")
        return size


async def _pour(response: aiohttp.ClientResponse, target: Path) -> int:
    size = 0
    with target.open("wb") as file:  # not in a thread: a wait that is cancelled would leave the file open
        try:
            async for chunk in response.content.iter_chunked(CHUNK):
                size += await asyncio.to_thread(file.write, chunk)
        except aiohttp.ClientPayloadError as exc:
            raise OutputMissing(f"{target.name} was cut off after {size} bytes.") from exc
    return size


def _shown(url: str) -> str:
    """The address without user name and password."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("no http address")
    except ValueError as exc:
        message = f"{url.rpartition('@')[2]!r} is no address of a ComfyUI server."
        raise ComfyUIError(message, hint="It looks like http://127.0.0.1:8188.") from exc
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
