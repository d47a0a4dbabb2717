"""A ComfyUI that misbehaves on command: what no recording shows, as far as a client can see it.

It runs nothing by itself: a test says what becomes of a prompt.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GUARD = 30.0


def reset(request: web.Request) -> web.Response:
    """Cuts the line without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, with a generous guard."""
    async with asyncio.timeout(GUARD):
        while not condition():
            await asyncio.sleep(0.002)


class FakeComfyUI:
    """The places a client looks into, each open to the test; `instead` answers a path in place of the usual answer."""

    def __init__(self) -> None:
        self.version = "0.5.0"
        self.running: list[str] = []
        self.pending: list[str] = []
        self.history: dict[str, Any] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.asked: list[tuple[str, str]] = []
        self.posted: list[dict[str, Any]] = []
        self.instead: dict[str, Handler] = {}
        self.autoping = True
        self.opened: list[str] = []

    def succeed(self, prompt_id: str, *, filename: str = "a.png") -> None:
        """The prompt ends well, in silence."""
        self.running = [other for other in self.running if other != prompt_id]
        image = {"filename": filename, "subfolder": "", "type": "output"}
        self.history[prompt_id] = {"outputs": {"7": {"images": [image]}}, "status": {"status_str": "success"}}

    async def tell(self, kind: str, **data: Any) -> None:
        """A message to every socket."""
        for socket in list(self.sockets.values()):
            await socket.send_str(json.dumps({"type": kind, "data": data}))

    def count(self, method: str, path: str) -> int:
        """How often that was asked."""
        return self.asked.count((method, path))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        self.asked.append((request.method, request.path))
        for start, handler in list(self.instead.items()):
            if request.path.startswith(start):
                return await handler(request)
        if request.path == "/ws":
            return await self._socket(request)
        if request.method == "POST":
            return await self._post(request)
        return self._get(request.path)

    def _get(self, path: str) -> web.Response:
        if path == "/system_stats":
            return web.json_response({"system": {"comfyui_version": self.version}, "devices": []})
        if path == "/queue":
            running, pending = self._entries(self.running), self._entries(self.pending)
            return web.json_response({"queue_running": running, "queue_pending": pending})
        if path.startswith("/history/"):
            prompt = path.rpartition("/")[2]
            return web.json_response({prompt: self.history[prompt]} if prompt in self.history else {})
        return web.Response(status=404)

    def _entries(self, prompts: list[str]) -> list[Any]:
        return [[number, prompt, {}, {}, []] for number, prompt in enumerate(prompts)]

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.json()
        if request.path == "/prompt":
            self.posted.append(body)
            self.running.append(body["prompt_id"])
            return web.json_response({"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}})
        if request.path == "/queue":
            self.pending = [prompt for prompt in self.pending if prompt not in body["delete"]]
        if request.path == "/interrupt" and body["prompt_id"] in self.running:
            self.running.remove(body["prompt_id"])
            messages = [["execution_interrupted", {"node_id": "5", "node_type": "KSampler"}]]
            self.history[body["prompt_id"]] = {"outputs": {}, "status": {"status_str": "error", "messages": messages}}
        return web.Response()

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=self.autoping)
        await socket.prepare(request)
        client_id = request.query["clientId"]
        self.opened.append(client_id)
        self.sockets[client_id] = socket
        try:
            async for _ in socket:
                pass
        finally:
            self.sockets.pop(client_id, None)
        return socket


@asynccontextmanager
async def faking() -> AsyncIterator[tuple[FakeComfyUI, str]]:
    """A fake and its address, for as long as the block lasts."""
    fake = FakeComfyUI()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", fake.handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield fake, str(server.make_url("")).rstrip("/")
    finally:
        await server.close()
