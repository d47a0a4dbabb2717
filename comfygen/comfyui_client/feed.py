"""The one websocket of a client: hints about prompts, never the truth.

Each connection has a client id of its own. A socket opened under an id that was used before can go deaf when the
server reaps the older one, so a lost connection is followed by one with a fresh id; the events of prompts submitted
before are then no longer heard, and whoever waits for them falls back to polling (`Listener.hears` says so).
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp

from comfygen.comfyui_client.progress import ProgressTracker, announces_end
from comfygen.comfyui_client.shapes import as_mapping, as_text
from comfygen.comfyui_client.transport import FOREIGN, Transport
from comfygen.comfyui_client.values import Patience

log = logging.getLogger(__name__)

MAX_MESSAGE = 256 << 20  # frames can exceed the usual 4 MiB: previews, error dumps
MAX_LISTENERS = 256
LONGEST_PAUSE = 10.0


class Listener:
    """What the feed has heard about one prompt. `wake` is set whenever there is something new."""

    def __init__(self, prompt_id: str, nodes: Iterable[str] = ()) -> None:
        self.tracker = ProgressTracker(prompt_id, nodes)
        self.wake = asyncio.Event()
        self.look = False  # it is worth asking the server now
        self.hears = False  # the present connection has told something about this prompt
        self.heard_at: float | None = None
        self.ended_at: float | None = None
        self.cancelled = False  # by this client
        self.ran = False  # the server has said so

    @property
    def begun(self) -> bool:
        """Whether it has begun to run, and was not said to have ended."""
        return (self.ran or self.heard_at is not None) and self.ended_at is None

    def take(self, kind: str, data: Mapping[str, Any], now: float) -> None:
        """A message about this prompt."""
        self.hears, self.heard_at = True, now
        self.tracker.take(kind, data)
        if announces_end(kind, data):
            self.ended_at = self.ended_at or now
            self.look = True
        self.wake.set()

    def nudge(self) -> None:
        """Something happened that may concern this prompt."""
        self.look = True
        self.wake.set()


class Feed:
    """Keeps the websocket open from start to close, and gives each message to the listener of its prompt."""

    def __init__(self, transport: Transport, patience: Patience) -> None:
        self.client_id = str(uuid.uuid4())
        self.connected = False
        self._transport = transport
        self._patience = patience
        self._settled = asyncio.Event()  # connected, or failed for now
        self._task: asyncio.Task[None] | None = None
        self._listeners: OrderedDict[str, Listener] = OrderedDict()

    def start(self) -> None:
        """Begin to connect, in the background. Raises what the background task has died of: it has no end."""
        if self._task is not None and self._task.done():
            self._task.result()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"comfyui feed {self._transport.server}")

    async def close(self) -> None:
        """Close the websocket and end the background task."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def settle(self) -> bool:
        """Wait, not for long, for a connection that is being made; whether there is one."""
        try:
            async with asyncio.timeout(self._patience.settle):
                await self._settled.wait()
        except TimeoutError:
            return False
        return self.connected

    def listen(self, prompt_id: str, nodes: Iterable[str] = ()) -> Listener:
        """A new listener, to be made before the prompt is posted: events can arrive before the answer does."""
        listener = self._listeners[prompt_id] = Listener(prompt_id, nodes)
        while len(self._listeners) > MAX_LISTENERS:
            self._listeners.popitem(last=False)
        return listener

    def listener(self, prompt_id: str) -> Listener:
        """The listener of a prompt, new if there is none."""
        return self._listeners.get(prompt_id) or self.listen(prompt_id)

    def forget(self, prompt_id: str) -> None:
        """Drop the listener of a prompt that is over."""
        self._listeners.pop(prompt_id, None)

    async def _run(self) -> None:
        pause = self._patience.reconnect
        while True:
            self._settled.clear()
            try:
                if await self._connection():
                    pause = self._patience.reconnect
            finally:
                self._disconnected()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _disconnected(self) -> None:
        """After a connection, and after each attempt that brought about none."""
        lost, self.connected = self.connected, False
        self.client_id = str(uuid.uuid4())
        self._settled.set()
        for listener in self._listeners.values() if lost else ():
            listener.hears = False
            listener.nudge()

    async def _connection(self) -> bool:
        """One connection from its handshake to its end; whether it came about at all."""
        try:
            socket = await self._open()
        except FOREIGN as exc:
            log.debug("No websocket to %s: %s", self._transport.server, exc)
            return False
        async with socket:
            self.connected = True
            self._settled.set()
            try:
                await self._read(socket)
            except FOREIGN as exc:
                log.debug("Lost the websocket to %s: %s", self._transport.server, exc)
        return True

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        async with asyncio.timeout(self._transport.timeout):
            return await self._transport.session.ws_connect(
                f"{self._transport.url}/ws?clientId={self.client_id}",
                heartbeat=self._patience.heartbeat,
                max_msg_size=MAX_MESSAGE,
                timeout=aiohttp.ClientWSTimeout(ws_close=0.5),
            )

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self._take(message.data)
            elif message.type is aiohttp.WSMsgType.ERROR:
                return

    def _take(self, text: str) -> None:
        """One text message; what is no JSON object of the known form is passed over."""
        try:
            message = as_mapping(json.loads(text))
        except (ValueError, RecursionError):
            return
        kind, data = as_text(message.get("type")), as_mapping(message.get("data"))
        if kind == "status":
            self._queue_changed()
        elif (listener := self._listeners.get(as_text(data.get("prompt_id")))) is not None:
            listener.take(kind, data, asyncio.get_running_loop().time())

    def _queue_changed(self) -> None:
        """`status` goes to every socket: for prompts whose own events are not heard, it is the only hint."""
        for listener in self._listeners.values():
            if not listener.hears:
                listener.nudge()
