"""A server that answers as a recorded ComfyUI did: its HTTP answers and its websocket messages, in their order.

A recording plays by itself up to the next POST that the recorded client made, and goes on when such a POST arrives. The
ids that a test chooses stand in for the recorded ones. Where a client asks what the recorded one did not (it polls more
often), the answer follows from what has been played so far.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

RECORDINGS = Path(__file__).parent / "data" / "comfyui"
WAITED_FOR = {"/prompt", "/queue", "/interrupt"}
ENDS = {"execution_success", "execution_error", "execution_interrupted"}


def recording(name: str) -> Any:
    """A recording as it lies in tests/data/comfyui, by `<version>/<name>`."""
    return json.loads((RECORDINGS / f"{name}.json").read_text())


def graph(name: str) -> dict[str, dict[str, Any]]:
    """One of the recorded graphs."""
    loaded: dict[str, dict[str, Any]] = recording(f"graphs/{name}")
    return loaded


def histories(name: str) -> dict[str, Any]:
    """Every history entry of a recording, by its id."""
    entries: dict[str, Any] = {}
    for event in recording(name)["events"]:
        if event.get("path", "").startswith("/history/") and event.get("response_json"):
            entries |= event["response_json"]
    return entries


def messages(name: str) -> list[dict[str, Any]]:
    """Every websocket message of a recording."""
    return [event["msg"] for event in recording(name)["events"] if event["kind"] == "ws"]


class Replay:
    """Plays one recording.

    `early` sends what follows a POST before its answer; `lag` is how many history questions after the end of a prompt
    still find nothing.
    """

    def __init__(self, recorded: Any, *, early: bool = False, lag: int = 0) -> None:
        self.recorded = recorded
        self.asked: list[tuple[str, str]] = []
        self.posted: list[Any] = []
        self.sockets: dict[web.WebSocketResponse, asyncio.Transport] = {}
        self.opened = 0
        self._early, self._lag = early, lag
        self._events = recorded["events"]
        self._posts: dict[str, asyncio.Queue[tuple[Any, asyncio.Future[web.Response]]]] = defaultdict(asyncio.Queue)
        self._posts_left = Counter(event["path"] for event in self._events if self._is_waited_for(event))
        self._answers: dict[tuple[str, str], deque[Any]] = defaultdict(deque)
        self._ids: dict[str, str] = {}
        self._running: list[str] = []
        self._ended: Counter[str] = Counter()
        self._histories: dict[str, Any] = {}
        self._voices: set[str] = set()
        self._heard = True
        self._gone = 0
        self._index()

    def _index(self) -> None:
        opened = [event for event in self._events if event["kind"] == "ws_open"]
        posters = {opened[0]["clientId"]} if opened else set()
        for event in self._events:
            if event["kind"] != "http" or "exception" in event:
                continue
            body, request = event.get("response_json"), event.get("request_json")
            if event["path"].startswith("/history/") and body:
                self._histories |= body
            elif not self._is_waited_for(event):
                self._answers[event["method"], event["path"]].append(event)
            if isinstance(request, dict) and "client_id" in request:
                posters.add(request["client_id"])
        self._voices = {event["conn"] for event in opened if event["clientId"] in posters}

    @staticmethod
    def _is_waited_for(event: Any) -> bool:
        return event.get("method") == "POST" and event["path"] in WAITED_FOR

    async def play(self) -> None:
        """Plays to the end, waiting at each recorded POST."""
        for at, event in enumerate(self._events):
            if self._is_waited_for(event):
                await self._post(at, event)
            elif event.get("path", "").startswith("/history/"):
                self._end(*event.get("response_json") or ())
            elif event["kind"] in {"ws", "ws_binary"} and event["conn"] in self._voices:
                await self._send(event)
            elif event["kind"] == "ws_close" and event["conn"] in self._voices:
                self._heard = False
                self._hang_up()
            elif event["kind"] == "note" and event["text"] in {"SIGKILL", "SIGTERM"}:
                self._die(at)

    async def _post(self, at: int, event: Any) -> None:
        body, answer = await self._posts[event["path"]].get()
        reply = event.get("response_json")
        if event["path"] == "/prompt" and isinstance(reply, dict) and "prompt_id" in reply:
            self._ids[reply["prompt_id"]] = body["prompt_id"]
            self._running.append(reply["prompt_id"])
            self._heard = True
        if self._early:
            for later in self._events[at + 1 :]:
                if later["kind"] == "http":
                    break
                if later["kind"] == "ws" and later["conn"] in self._voices:
                    await self._send(later)
        answer.set_result(self._response(event))

    async def _send(self, event: Any) -> None:
        if event["kind"] == "ws_binary":
            frame = struct.pack(">II", event["frame"]["event"], event["frame"].get("image_type", 1))
            for socket in list(self.sockets):
                await socket.send_bytes(frame.ljust(event["frame"]["len"], b"\0"))
            return
        message = event["msg"]
        if self._heard or message["type"] == "status":
            for socket in list(self.sockets):
                await socket.send_str(self._translated(message))
        if message["type"] in ENDS:
            self._end(message["data"]["prompt_id"])

    def _end(self, *prompts: str) -> None:
        for prompt in set(prompts) & set(self._running):
            self._running.remove(prompt)
            self._ended[prompt] = self._lag

    def _hang_up(self) -> None:
        for transport in self.sockets.values():
            transport.abort()
        self.sockets.clear()

    def _die(self, at: int) -> None:
        """The recorded server was killed here: what it knew is gone, and for some questions so is it."""
        following = self._events[at:]
        restart = next(i for i, event in enumerate(following) if event.get("text") == "restarted")
        self._gone = sum("exception" in event and event["kind"] == "http" for event in following[:restart])
        self._running.clear()
        self._ended.clear()
        self._hang_up()

    def _translated(self, body: Any) -> str:
        text = json.dumps(body)
        for recorded, chosen in self._ids.items():
            text = text.replace(recorded, chosen)
        return text

    def _response(self, event: Any) -> web.Response:
        if "response_bytes" in event:
            return web.Response(status=event["status"], body=bytes(event["response_bytes"]["len"]))
        if event.get("response_json") is not None:
            text = self._translated(event["response_json"])
            return web.Response(status=event["status"], text=text, content_type="application/json")
        return web.Response(status=event["status"], text=event.get("response_text", ""))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request but a websocket's."""
        self.asked.append((request.method, request.path_qs))
        if self._gone:
            self._gone -= 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if request.method == "POST":
            return await self._posted(request)
        if request.path.startswith("/history/"):
            return self._json(self._history(request.path.rpartition("/")[2]))
        if request.path == "/queue":
            running = [[number, self._ids[prompt], {}, {}, []] for number, prompt in enumerate(self._running)]
            return self._json({"queue_running": running, "queue_pending": []})
        if request.path == "/system_stats":
            return self._json({"system": {"comfyui_version": self.recorded["comfyui"].lstrip("v")}, "devices": []})
        return self._recorded_answer(request)

    async def _posted(self, request: web.Request) -> web.Response:
        if request.path not in WAITED_FOR:
            return self._recorded_answer(request)
        if self._posts_left[request.path] == 0:
            return web.Response()
        self._posts_left[request.path] -= 1
        body = await request.json() if request.content_type == "application/json" else await request.read()
        self.posted.append(body)
        answer: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()
        self._posts[request.path].put_nowait((body, answer))
        return await answer

    def _history(self, asked: str) -> Any:
        for recorded, chosen in self._ids.items():
            if chosen == asked and recorded in self._ended:
                if self._ended[recorded] > 0:
                    self._ended[recorded] -= 1
                    return {}
                return {recorded: self._histories[recorded]} if recorded in self._histories else {}
        return {}

    def _recorded_answer(self, request: web.Request) -> web.Response:
        path = request.path_qs
        for recorded, chosen in self._ids.items():
            path = path.replace(chosen, recorded)
        answers = self._answers[request.method, path]
        if not answers:
            return web.Response(status=404)
        return self._response(answers.popleft() if len(answers) > 1 else answers[0])

    def _json(self, body: Any) -> web.Response:
        return web.Response(text=self._translated(body), content_type="application/json")

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """A websocket, open until the other side or the recording closes it."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        self.opened += 1
        self.sockets[socket] = request.transport
        try:
            async for _ in socket:
                pass
        finally:
            self.sockets.pop(socket, None)
        return socket


@asynccontextmanager
async def replayed(recorded: Any, *, early: bool = False, lag: int = 0) -> AsyncIterator[tuple[Replay, str]]:
    """A replay and its address, for as long as the block lasts; `recorded` is a recording or its name."""
    replay = Replay(recording(recorded) if isinstance(recorded, str) else recorded, early=early, lag=lag)
    app = web.Application()
    app.router.add_get("/ws", replay.socket)
    app.router.add_route("*", "/{path:.*}", replay.handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    player = asyncio.create_task(replay.play(), name="replay")
    try:
        yield replay, str(server.make_url("")).rstrip("/")
    finally:
        player.cancel()
        await asyncio.gather(player, return_exceptions=True)
        await server.close()
