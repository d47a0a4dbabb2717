"""Wire: HTTP/1.1 over a bare socket, signed with botocore, so that headers, bodies and chunks are the server's own."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.minio_double.signature import canonical_query

GUARD = 30.0


class _Signer(S3SigV4Auth):  # type: ignore[misc]
    """A signer whose clock may be wrong, and that may say about the body what it is told to."""

    def __init__(self, signing: Signing) -> None:
        super().__init__(Credentials(signing.access, signing.secret), "s3", signing.region)
        self.skew, self.declared = signing.skew, signing.payload

    def payload(self, request: AWSRequest) -> str:
        return self.declared or str(super().payload(request))

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        moment = datetime.now(UTC) + timedelta(seconds=self.skew)
        request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
        super()._modify_request_before_signing(request)


@dataclass(frozen=True, kw_only=True)
class Signing:
    """How a request is signed. `payload` is what is said about the body, if it is not the body's hash."""

    access: str = "comfygen"
    secret: str = "comfygen-secret"
    region: str = "us-east-1"
    skew: float = 0.0
    anonymous: bool = False
    payload: str = ""

    def headers(self, endpoint: str, method: str, target: str, extra: Mapping[str, str], body: bytes) -> dict[str, str]:
        if self.anonymous:
            return dict(extra)
        request = AWSRequest(method, endpoint + target, data=body, headers=dict(extra))
        _Signer(self).add_auth(request)
        return dict(request.headers)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A response as it came: headers in order, repeated ones included."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def code(self) -> int:
        return int(self.status.split()[1])

    @property
    def error(self) -> str | None:
        """The error code: in the body, or in a header where there is none."""
        found = re.search(rb"<Code>(.*?)<", self.body)
        return found[1].decode() if found else self.header("x-minio-error-code")


async def _send(
    endpoint: str, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(endpoint)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    kept = {name: value for name, value in headers.items() if name.lower() not in {"host", "content-length"}}
    kept["Host"] = place.netloc
    if body or method in {"PUT", "POST"}:
        kept["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in kept.items()), "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    return reader, writer


async def _head(reader: asyncio.StreamReader) -> Reply:
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in raw[1:])
    return Reply(status=raw[0], headers=tuple((name, value.strip()) for name, _, value in pairs))


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:-2]


async def exchange(
    endpoint: str,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    signing: Signing | None = None,
) -> Reply:
    """One request and its whole response, on a connection of its own."""
    signed = (signing or Signing()).headers(endpoint, method, target, headers or {}, body)
    async with asyncio.timeout(GUARD):
        reader, writer = await _send(endpoint, method, target, signed, body)
        try:
            head = await _head(reader)
            return Reply(status=head.status, headers=head.headers, body=await _body(reader, method, head))
        finally:
            writer.close()


async def _body(reader: asyncio.StreamReader, method: str, head: Reply) -> bytes:
    if method == "HEAD" or head.code in {204, 304}:
        return b""
    if head.header("Transfer-Encoding") != "chunked":
        return await reader.readexactly(int(head.header("Content-Length") or 0))
    chunks = []
    while chunk := await _chunk(reader):
        chunks.append(chunk)
    return b"".join(chunks)


@dataclass(kw_only=True)
class Listener:
    """A listen stream: its chunks as they come, and the events in them. `end` is why it ended."""

    endpoint: str
    target: str
    extra: Mapping[str, str] = field(default_factory=dict)
    signing: Signing = field(default_factory=Signing)
    head: Reply | None = None
    chunks: list[bytes] = field(default_factory=list)
    end: str | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    _rest: bytes = b""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _task: asyncio.Task[None] | None = None
    _writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        headers = self.signing.headers(self.endpoint, "GET", self.target, self.extra, b"")
        reader, self._writer = await _send(self.endpoint, "GET", self.target, headers, b"")
        self._task = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        assert self._writer
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            self.head = await _head(reader)
            await self._tell()
            while chunk := await _chunk(reader):
                self._keep(chunk)
                await self._tell()
            self.end = "last chunk"
        except asyncio.IncompleteReadError as exc:
            self._keep(exc.partial)
            self.end = "end without last chunk"
        except ConnectionError as exc:
            self.end = type(exc).__name__
        await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until(
        self, *, events: int = 0, chunks: int = 0, pings: int = 0, head: bool = False, end: bool = False
    ) -> None:
        """Wait for so many events, chunks or pings, for the headers, or for the end."""
        async with asyncio.timeout(GUARD), self._news:
            await self._news.wait_for(
                lambda: (
                    len(self.events()) >= events
                    and len(self.chunks) >= chunks
                    and self.pings() >= pings
                    and not (head and self.head is None)
                    and not (end and self.end is None)
                )
            )

    def _keep(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        if self.head and self.head.header("Content-Encoding") is None:
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            self.lines += [json.loads(line) for line in whole if line.strip()]

    def events(self) -> list[dict[str, Any]]:
        return [event for line in self.lines for event in line["Records"] or []]

    def heard(self) -> list[str]:
        """The keys of the events so far."""
        return [event["s3"]["object"]["key"] for event in self.events()]

    def pings(self) -> int:
        return sum(not line["Records"] for line in self.lines)


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A client without opinions."""

    endpoint: str
    signing: Signing = field(default_factory=Signing)

    async def call(
        self, method: str, path: str, body: bytes = b"", *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request; the path is plain text, the query is sent as it is."""
        target = quote(path) + (f"?{query}" if query else "")
        return await exchange(self.endpoint, method, target, headers=headers, body=body, signing=self.signing)

    def listen(self, bucket: str, *, ping: int | None = None, events: Iterable[str] = (), **filters: str) -> Listener:
        """A stream, not opened yet."""
        target = listen_target(bucket, ping=ping, events=events, **filters)
        return Listener(endpoint=self.endpoint, target=target, signing=self.signing)


def listen_target(bucket: str, *, ping: int | None = None, events: Iterable[str] = (), **filters: str) -> str:
    """The target of a listen request, sorted as its signature needs it."""
    names = sorted(events) or ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    query = [("events", name) for name in names] + sorted(filters.items())
    query += [("ping", str(ping))] if ping else []
    return f"/{bucket}?{canonical_query(query)}"
