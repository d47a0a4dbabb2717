"""ListenStream: one connection to a server's own notifications (ListenBucketNotification of MinIO and RustFS)."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
from yarl import URL

from comfygen.errors import NoSuchBucket, NoSuchKey, StoreDenied, StoreError, StoreUnavailable
from comfygen.events import BucketEvent, EventUnreadable, LineReader, parse_line
from comfygen.minio_client.connection import Connection
from comfygen.minio_client.faults import FOREIGN, error_code, fault_of, status_error
from comfygen.minio_client.settings import ListenSettings
from comfygen.minio_client.state import Listening, ListenRefused, StreamLost

ACTION = "s3:ListenBucketNotification"
# Removed as well as created, even for those who need one: a wide mask keeps other listeners of MinIO from going deaf.
EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
EVENT_STREAM = "text/event-stream"
MAX_ERROR_BYTES = 1 << 16


class ListenStream:
    """The events of a connection that stands. Each item is what one chunk held: nothing but pings gives ()."""

    def __init__(self, response: aiohttp.ClientResponse, settings: ListenSettings) -> None:
        self._response = response
        self._dialect = settings.dialect
        self._lines = LineReader()

    async def __aiter__(self) -> AsyncIterator[tuple[BucketEvent, ...]]:
        """Raises StreamLost at the end: also when it ends properly, and for a line that is none."""
        with _lost():
            async for chunk in self._response.content.iter_any():
                yield self._read(chunk)
        raise StreamLost("The server ended the notification stream.")

    def _read(self, chunk: bytes) -> tuple[BucketEvent, ...]:
        try:
            lines = self._lines.feed(chunk)
            return tuple(event for line in lines for event in parse_line(line, dialect=self._dialect))
        except EventUnreadable as exc:
            raise StreamLost(exc.message) from exc


@asynccontextmanager
async def open_stream(connection: Connection, settings: ListenSettings) -> AsyncIterator[ListenStream]:
    """Subscribe to the whole prefix of the store. Raises ListenRefused and StreamLost.

    MinIO sends its status line with the first byte, so this takes up to `ping` seconds, and for ever with a muffled
    server: the caller bounds it. When it returns, the subscription stands.
    """
    query = [("events", name) for name in EVENTS]
    query += [("prefix", connection.settings.prefix), ("suffix", ""), ("ping", str(settings.ping))]
    with _lost():
        url, headers = await connection.signed_url(query)
        response = await connection.http.get(URL(url, encoded=True), headers=headers, allow_redirects=False)
    try:
        await _check(response, connection.settings.bucket)
        yield ListenStream(response, settings)
    finally:
        response.close()


async def _check(response: aiohttp.ClientResponse, bucket: str) -> None:
    """A 200 is not a listen: servers that do not know it answer with a listing."""
    if response.status == 200 and response.content_type == EVENT_STREAM:
        return
    if response.status == 200:
        raise ListenRefused(Listening.UNSUPPORTED, f"{ACTION} is answered with {response.content_type}, no stream.")
    with _lost():
        body = (await response.content.read(MAX_ERROR_BYTES)).decode(errors="replace")
    code, message = error_code(body)
    error = status_error(
        response.status,
        code=code,
        message=html.unescape(message),
        date=response.headers.get("Date"),
        action=ACTION,
        place=bucket,
    )
    raise _verdict(error, response.status) from error


def _verdict(error: Exception, status: int) -> StoreError:
    """What an answer means for listening: a matter of configuration, or a bad moment."""
    hint = getattr(error, "hint", None)
    if isinstance(error, NoSuchBucket):
        return ListenRefused(Listening.MISSING, str(error))
    if isinstance(error, StoreDenied):
        return ListenRefused(Listening.FORBIDDEN, str(error), hint=hint)
    if status == 501 or not isinstance(error, StoreUnavailable) or isinstance(error, NoSuchKey):
        return ListenRefused(Listening.UNSUPPORTED, str(error))
    return StreamLost(str(error))


@contextmanager
def _lost() -> Iterator[None]:
    """A broken connection is the ordinary end of a listen: MinIO never ends the stream properly."""
    try:
        yield
    except FOREIGN as exc:
        raise StreamLost(f"The notification stream broke: {exc!r}.", hint=fault_of(exc).hint) from exc
    except asyncio.IncompleteReadError as exc:
        raise StreamLost("The notification stream broke in the middle.") from exc
