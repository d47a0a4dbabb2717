"""The double: a MinIO-like server on a socket of its own, for tests."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.minio_double.clock import Clock
from tests.minio_double.control import control
from tests.minio_double.faults import Faults
from tests.minio_double.front import Front
from tests.minio_double.knobs import Knobs
from tests.minio_double.notifications import Webhook
from tests.minio_double.pubsub import Pubsub
from tests.minio_double.state import Logged, State, User
from tests.minio_double.storage import Storage

CONTROL = "/double/"
PATIENCE, GUARD = 10, 30.0
_LIMITS: dict[str, Any] = {
    "max_line_size": 1 << 16,
    "max_field_size": 1 << 16,
    "auto_decompress": False,
    "access_log": None,
}


class MinioDouble:
    """A server that behaves like MinIO, or as badly as its knobs are set.

    ``async with MinioDouble() as double:`` serves at ``double.endpoint`` until the block ends.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        access_key: str = "comfygen",
        secret_key: str = "comfygen-secret",
    ) -> None:
        self.host, self.port = host, port
        self.access_key, self.secret_key = access_key, secret_key
        clock = Clock()
        users = {access_key: User(secret=secret_key, root=True)}
        self.state = State(clock=clock, storage=Storage(clock), faults=Faults(), users=users)
        self.pubsub = Pubsub()
        self.webhooks: dict[str, Webhook] = {}
        self.front = Front(self.state, self.pubsub, self.webhooks)
        self.knobs = Knobs(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._place: socket.socket | None = None
        self._door: asyncio.Server | None = None
        self._server: web.Server | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def requests(self) -> list[Logged]:
        """What was asked so far, in order."""
        return self.state.requests

    async def __aenter__(self) -> Self:
        self._place = self._bind()  # never listens: it keeps the port while the server is down
        self.port = self._place.getsockname()[1]
        self.state.origin = self.endpoint
        self._server = web.Server(self._handle, handler_cancellation=True, **_LIMITS)
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._place:
            self._place.close()
        self.state.storage.close()

    def _bind(self) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((self.host, self.port))
        return bound

    async def open(self) -> None:
        """Accept connections."""
        assert self._server is not None
        if self._door is None:
            loop = asyncio.get_running_loop()
            self._door = await loop.create_server(self._server, sock=self._bind(), backlog=1024)

    async def close(self) -> None:
        """Refuse connections and end those there are. A stream ends without its last chunk, as when MinIO stops."""
        assert self._server is not None
        if self._door is not None:
            self._door.close()
            self._door = None
        for turn in itertools.count():
            for transport in [connection.transport for connection in self._server.connections]:
                if isinstance(transport, asyncio.Transport):
                    # a client that does not read would keep a closing transport open for ever
                    transport.close() if turn < PATIENCE else transport.abort()
            if not self._server.connections:
                return
            await asyncio.sleep(0)

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        if http.path.startswith(CONTROL):
            return await control(self, http)
        return await self.front.handle(http)

    async def listening(self, count: int = 1) -> None:
        """Wait until the server has exactly so many listeners."""
        async with asyncio.timeout(GUARD):
            await self.pubsub.until(count)

    async def make_bucket(self, name: str) -> None:
        """Create a bucket without asking anyone."""
        if not self.state.storage.has(name):
            self.state.storage.create(name)

    def add_user(self, access_key: str, secret_key: str, actions: Iterable[str] = ("s3:*",)) -> None:
        """Let someone in who is not root: `actions` may have wildcards, a bucket's policy may allow more."""
        self.state.users[access_key] = User(secret=secret_key, actions=tuple(actions))

    def add_webhook(self, name: str, endpoint: str, *, token: str = "", retry: float | None = None) -> str:
        """Configure a webhook target, as MINIO_NOTIFY_WEBHOOK_* do, and return its ARN.

        With `retry` it has a queue that is looked at every so many seconds (MinIO: 3), and nothing is lost.
        """
        webhook = Webhook(name=name, endpoint=endpoint, token=token, retry=retry)
        self.webhooks[webhook.arn] = webhook
        self.state.arns.add(webhook.arn)
        self.later(webhook.run())
        return webhook.arn

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the caller, at the latest until the double closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
