"""Sockets: `/ws`, who listens there, and the voice in which one prompt tells of its run.

As in ComfyUI a socket is known by its client id, the latest wins, and when any socket of that id closes the id is
forgotten: a newer one goes deaf without noticing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Container
from typing import Any

from aiohttp import WSMsgType, web

MAX_BODY = 100 * 2**20
FEATURES = {
    "supports_preview_metadata": True,
    "supports_model_type_tags": True,
    "max_upload_size": MAX_BODY,
    "extension": {"manager": {"supports_v4": True}},
    "node_replacements": True,
    "assets": False,
}
ENDINGS = {"executed", "execution_success", "execution_error", "execution_interrupted"}


class Hub:
    """All sockets by client id. `client` and `node` are whose prompt runs and where it stands."""

    def __init__(self) -> None:
        self.client: str | None = None
        self.node: str | None = None
        self.features = dict(FEATURES)
        self._boxes: dict[str, asyncio.Queue[str | None]] = {}
        self._open: set[asyncio.Transport] = set()

    def hears(self, client: str | None) -> bool:
        """Whether a message to this client (None: to all) reaches anyone."""
        return bool(self._boxes) if client is None else client in self._boxes

    def send(self, event: str, data: dict[str, Any], client: str | None = None) -> None:
        """Send to one client, or to all."""
        if self.hears(client):
            text = json.dumps({"type": event, "data": data})
            for box in [self._boxes[client]] if client is not None else self._boxes.values():
                box.put_nowait(text)

    async def serve(self, request: web.Request, remaining: int) -> web.WebSocketResponse:
        """One connection from open to close."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query.get("clientId") or uuid.uuid4().hex
        box: asyncio.Queue[str | None] = asyncio.Queue()
        self._boxes[client] = box
        transport = request.transport
        if transport is not None:
            self._open.add(transport)
        self.send("status", status(remaining) | {"sid": client}, client)
        if self.client == client and self.node is not None:
            self.send("executing", {"node": self.node}, client)
        writer = asyncio.create_task(_write(socket, box), name="simulator-socket")
        try:
            await self._read(socket, box)
        finally:
            if transport is not None:
                self._open.discard(transport)
            self._boxes.pop(client, None)
            writer.cancel()
        return socket

    async def _read(self, socket: web.WebSocketResponse, box: asyncio.Queue[str | None]) -> None:
        """Answer feature flags if they come first; ignore all else."""
        first = True
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                if first and _is_feature_flags(message.data):
                    box.put_nowait(json.dumps({"type": "feature_flags", "data": self.features}))
                first = False

    def abort(self) -> None:
        """Cut every connection, as the end of the process does."""
        self._boxes.clear()
        self.client = self.node = None
        for transport in list(self._open):
            transport.abort()


def status(remaining: int) -> dict[str, Any]:
    return {"status": {"exec_info": {"queue_remaining": remaining}}}


async def _write(socket: web.WebSocketResponse, box: asyncio.Queue[str | None]) -> None:
    with contextlib.suppress(ConnectionError):
        while (text := await box.get()) is not None:
            await socket.send_str(text)


def _is_feature_flags(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("type") == "feature_flags"


class Voice:
    """What one prompt says: to its own client, or where ComfyUI shouts, to everyone."""

    def __init__(self, hub: Hub, prompt_id: str, client: str | None, faults: Container[str] = ()) -> None:
        self.hub, self.prompt_id, self.client, self._faults = hub, prompt_id, client, faults

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """To the prompt's own client, if it has one."""
        if self.client is not None:
            self.shout(event, data)

    def shout(self, event: str, data: dict[str, Any]) -> None:
        """To the prompt's own client, or to everyone if it has none: progress, interruption."""
        if "websocket_silent" in self._faults:
            return
        ends = event in ENDINGS or (event == "executing" and data["node"] is None)
        if ends and "missing_events" in self._faults:
            return
        for _ in range(2 if "duplicate_events" in self._faults else 1):
            self.hub.send(event, data, self.client)

    def at(self, node: str | None) -> None:
        """`executing`: which node runs now; None when the prompt is over."""
        if self.client is not None:
            self.hub.node = node
        display = {} if node is None else {"display_node": node}
        self.tell("executing", {"node": node, **display, "prompt_id": self.prompt_id})
