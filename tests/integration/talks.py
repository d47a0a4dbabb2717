"""Talks: plays what a recorded client said to ComfyUI against another server, and lists where the answers differ.

Everything must be equal but what differs with every run: times, ids, traces. An id that the server chose is taken for
the recorded one. Before each request the player waits for the messages that the recorded client had by then.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import aiohttp

from tests.replay import recording

PATIENCE = 60.0
NOISE = {"status", "progress", "progress_state", "feature_flags"}
LOOSE = {"timestamp", "create_time", "execution_start_time", "execution_end_time", "traceback", "current_inputs"}
LOOSE |= {"current_outputs", "sid"}
UNORDERED = {"executed", "queue_pending", "errors"}
ELIDED = ("<", "...")
PREVIEW, DAY = re.compile("ComfyUI_temp_[a-z]{5}"), re.compile(r"/\d{4}-\d\d-\d\d")
MAGIC = {"png": b"\x89PNG", "webp": b"RIFF", "jpeg": b"\xff\xd8", "mp4": b"\0\0\0"}


def differences(recorded: Any, ours: Any, place: str = "") -> Iterator[str]:
    """Every place where an answer is not what was recorded. What the recorder cut out may be anything."""
    key = place.rsplit("/", 1)[-1]
    if isinstance(recorded, str) and recorded.startswith(ELIDED):
        return
    if isinstance(recorded, dict) and isinstance(ours, dict) and key not in LOOSE:
        yield from (f"{place}/{name} is missing" for name in recorded.keys() - ours.keys())
        yield from (f"{place}/{name} is more than recorded" for name in ours.keys() - recorded.keys() - LOOSE)
        for name in recorded.keys() & ours.keys():
            yield from differences(recorded[name], ours[name], f"{place}/{name}")
    elif isinstance(recorded, list) and isinstance(ours, list) and key not in LOOSE:
        first, second = (sorted(value, key=str) if key in UNORDERED else value for value in (recorded, ours))
        if len(first) != len(second):
            yield f"{place} holds {len(second)} things, not {len(first)}"
        for number, (one, other) in enumerate(zip(first, second, strict=False)):
            yield from differences(one, other, f"{place}/{number}")
    elif type(recorded) is not type(ours) or (recorded != ours and key not in LOOSE):
        yield f"{place} is {ours!r}, not {recorded!r}"


class Ear:
    """What one socket has heard, without the noise."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []
        self.due: list[dict[str, Any]] = []
        self.ignored: set[str] = set()
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.heard.append(json.loads(message.data))
                self._news.set()

    def of(self, kinds: Collection[str]) -> list[dict[str, Any]]:
        told = (message for message in self.heard if message["type"] in kinds)
        return [message for message in told if message["data"].get("prompt_id") not in self.ignored]

    async def catch_up(self, kinds: Collection[str]) -> None:
        """Wait until all that is due was heard."""
        async with asyncio.timeout(PATIENCE):
            while len(self.of(kinds)) < len(self.due):
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        await self.socket.close()
        await self._task


class Talk:
    """One recorded client in front of one server; `skip` names events by their `t_ms`."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session
        self.found: list[str] = []
        self.uploads: Iterator[bytes] = iter(())
        self._ids: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._ears: dict[str, Ear] = {}
        self._kinds: set[str] = set()
        self._quote = True
        self._lenient = False

    async def play(
        self, name: str, skip: Collection[float] = (), lenient: Collection[str] = (), any_order: bool = False
    ) -> list[str]:
        """Play a recording of 0.28.1 to its end; every difference, by place.

        Questions at the times in `skip` are left out; what follows a note in `lenient`, up to the next note, is said,
        its answers not compared. `any_order` forgets the order of the messages: the output nodes of one graph run
        in that of a Python set, another one each time.
        """
        events = recording(f"v0.28.1/{name}")["events"]
        self._kinds = {event["msg"]["type"] for event in events if event["kind"] == "ws"} - NOISE
        self.found, self._ears = [], {}
        for event in events:
            if event["kind"] == "note":
                self._lenient = event["text"] in lenient
            if event["kind"] != "http" or event["t_ms"] not in skip:
                await self._play(event)
        for conn, ear in self._ears.items():
            await ear.catch_up(self._kinds)
            due, heard = ear.due, ear.of(self._kinds)
            if any_order:
                due, heard = (sorted(told, key=_place) for told in (due, heard))
            self._compare(due, heard, conn)
            await ear.close()
        return self.found

    async def _play(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "ws" and event["msg"]["type"] in self._kinds and not self._lenient:
            self._ears[event["conn"]].due.append(event["msg"])
        elif kind == "ws_open":
            query = {"clientId": event["clientId"]} if event["clientId"] else {}
            self._ears[event["conn"]] = Ear(await self.session.ws_connect(f"{self.url}/ws", params=query))
        elif kind == "note":
            self._quote = self._quote and "quoting off" not in event["text"]
        elif kind == "http" and "response_summary" not in event:
            for ear in self._ears.values():
                await ear.catch_up(self._kinds)
            await self._ask(event)

    async def _ask(self, event: dict[str, Any]) -> None:
        place, path = f"{event['t_ms']} {event['method']} {event['path']}", self._ours(event["path"])
        headers = self._headers(event.get("request_headers", {}))
        body = self._body(event)
        async with self.session.request(event["method"], self.url + path, headers=headers, **body) as response:
            content = await response.read()
            if self._lenient:
                self._ignore(content)
            elif response.status != event["status"]:
                self.found.append(f"{place} is {response.status}, not {event['status']}")
            elif event.get("response_json") is not None:
                self._learn(event["response_json"], json.loads(content))
                self._compare(event["response_json"], json.loads(content), place)
            elif "response_bytes" in event:
                self._compare_file(event, response, content, place)
            elif "response_text" in event and event["response_text"] != content.decode():
                self.found.append(f"{place} says {content.decode()!r}")

    def _headers(self, recorded: dict[str, str]) -> dict[str, str]:
        """The recorded headers with the tags and the port of this server."""
        port = f":{self.url.rsplit(':', 1)[1]}"
        return {name: self._tags.get(value, value).replace(":8188", port) for name, value in recorded.items()}

    def _body(self, event: dict[str, Any]) -> dict[str, Any]:
        if "request_multipart" in event:
            form = aiohttp.FormData(quote_fields=self._quote)
            for field in event["request_multipart"]:
                if "value" in field:
                    form.add_field(field["name"], field["value"])
                else:
                    sent = {"filename": field["filename"], "content_type": field["content_type"]}
                    form.add_field(field["name"], next(self.uploads), **sent)
            return {"data": form}
        if "request_raw" in event:
            return {"data": event["request_raw"].encode()}
        return {"json": json.loads(self._ours(json.dumps(event["request_json"])))} if "request_json" in event else {}

    def _ignore(self, content: bytes) -> None:
        """Never listen to what is told of a prompt that is not compared."""
        if content.startswith(b'{"prompt_id"'):
            for ear in self._ears.values():
                ear.ignored.add(json.loads(content)["prompt_id"])

    def _learn(self, recorded: Any, ours: Any) -> None:
        if isinstance(recorded, dict) and "prompt_id" in recorded:
            self._ids[recorded["prompt_id"]] = ours["prompt_id"]

    def _ours(self, text: str) -> str:
        for recorded, ours in self._ids.items():
            text = text.replace(recorded, ours)
        heard = json.dumps([ear.heard for ear in self._ears.values()]) if PREVIEW.search(text) else ""
        return PREVIEW.sub(lambda found: PREVIEW.findall(heard)[-1], text) if heard else text

    def _compare(self, recorded: Any, ours: Any, place: str) -> None:
        if isinstance(recorded, list) and isinstance(ours, dict):  # the recorder kept the keys of a history only
            ours = list(ours)
            recorded = [entry if isinstance(entry, str) else entry["key"] for entry in recorded]
        text = json.dumps(ours)
        for theirs, mine in self._ids.items():
            text = text.replace(mine, theirs)
        ours = _trimmed(recorded, json.loads(text))
        self.found += differences(_plain(recorded), _plain(ours), place)

    def _compare_file(
        self, event: dict[str, Any], response: aiohttp.ClientResponse, content: bytes, place: str
    ) -> None:
        self._tags[event["headers"].get("Etag", "")] = response.headers.get("Etag", "")
        for name in ("Content-Type", "Content-Disposition", "Accept-Ranges"):
            value, expected = response.headers.get(name, ""), event["headers"].get(name, "")
            if PREVIEW.sub("", value) != PREVIEW.sub("", expected):
                self.found.append(f"{place} has {name} {value}")
        if not content.startswith(MAGIC[event["response_bytes"]["magic"]]):
            self.found.append(f"{place} is no {event['response_bytes']['magic']}")


def _place(message: dict[str, Any]) -> str:
    """A place for a message that does not depend on when it came."""
    data = {"node": "", "output": ""} | message["data"]
    return f"{message['type']} {data['node']} {re.sub('temp_[a-z]+', '', str(data['output']))}"


def _trimmed(recorded: Any, ours: Any) -> Any:
    """History entries as far as the recorder kept them: parts of an entry, or the names of its messages."""
    if not (isinstance(recorded, dict) and isinstance(ours, dict)):
        return ours
    entries = {key: ours[key] for key in ours.keys() & recorded.keys() if isinstance(ours[key], dict)}
    for key, entry in entries.items():
        if "status" in entry and "outputs" in entry and isinstance(recorded[key], dict):
            ours[key] = {part: entry[part] for part in entry if part in recorded[key]}
            messages = recorded[key].get("status", {}).get("messages", [])
            if messages and isinstance(messages[0], str):
                status = entry["status"]
                ours[key]["status"] = status | {"messages": [message[0] for message in status["messages"]]}
    return ours


def _plain(value: Any) -> Any:
    """Without the random part of preview names and the day in folder names."""
    return json.loads(DAY.sub("/day", PREVIEW.sub("preview", json.dumps(value))))
