"""Simulating: a simulator with a client, as the tests of the simulator use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp

from comfygen.graph import Graph
from comfygen.simulator import Simulator
from tests.replay import recording

PATIENCE = 60.0
UUID = "00000000-0000-4000-8000-{:012}"


def recorded_models() -> dict[str, list[str]]:
    """The model files that the recorded server had."""
    lists = {
        event["path"].removeprefix("/models/"): event["response_json"]
        for event in recording("v0.28.1/01-server-info")["events"]
        if event.get("path", "").startswith("/models/") and event["status"] == 200
    }
    return lists | {"vae": ["wan_2.1_vae.safetensors"], "clip_vision": [], "upscale_models": []}


def still(colour: int = 1, prefix: str = "cg/empty", size: int = 64) -> Graph:
    """The smallest graph: a plain picture, saved."""
    picture = {"width": size, "height": size, "batch_size": 1, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": picture},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def sd15(**sampler: Any) -> Graph:
    """The recorded SD1.5 graph (sampler "5", decoder "6", saver "7"), with other settings for the sampler."""
    posts = (event for event in recording("v0.28.1/02-prompt-success")["events"] if event.get("path") == "/prompt")
    graph: Graph = next(posts)["request_json"]["prompt"]
    graph["5"]["inputs"] |= sampler
    return graph


class Client:
    """One client of a simulator: `ask` for a JSON answer, `run` for a whole prompt."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator, self.session = simulator, session

    async def ask(self, method: str, path: str, **request: Any) -> tuple[int, Any]:
        """Status and body of an answer; the text where it is no JSON."""
        async with self.session.request(method, self.simulator.url + path, **request) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text

    async def get(self, path: str) -> Any:
        return (await self.ask("GET", path))[1]

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        return await self.ask("POST", path, json=body)

    async def submit(self, graph: Mapping[str, Any], **more: Any) -> str:
        """Post a graph that must be accepted; its prompt id."""
        status, said = await self.post("/prompt", {"prompt": graph, "client_id": "tester", **more})
        assert status == 200, said
        return str(said["prompt_id"])

    async def entry(self, prompt_id: str) -> dict[str, Any]:
        """The history entry of a prompt, as soon as there is one."""
        async with asyncio.timeout(PATIENCE):
            while not (found := await self.get(f"/history/{prompt_id}")):
                pass
        entry: dict[str, Any] = found[prompt_id]
        return entry

    async def run(self, graph: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Post a graph and wait for its history entry."""
        return await self.entry(await self.submit(graph, **more))

    async def file(self, entry: Mapping[str, Any]) -> bytes:
        """The content of the only file that a run made."""
        (outputs,) = (
            value for output in entry["outputs"].values() for key, value in output.items() if key != "animated"
        )
        (named,) = outputs
        query = {key: named[key] for key in ("filename", "subfolder", "type")}
        async with self.session.get(f"{self.simulator.url}/view", params=query) as response:
            assert response.status == 200
            return await response.read()

    async def upload(self, content: bytes, name: str = "source.png", **fields: str) -> tuple[int, Any]:
        form = aiohttp.FormData()
        form.add_field("image", content, filename=name)
        for key, value in fields.items():
            form.add_field(key, value)
        return await self.ask("POST", "/upload/image", data=form)

    async def until_running(self, prompt_id: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while [item[1] for item in (await self.get("/queue"))["queue_running"]] != [prompt_id]:
                pass

    @asynccontextmanager
    async def listening(self, client_id: str = "tester") -> AsyncIterator[Listener]:
        async with self.session.ws_connect(f"{self.simulator.url}/ws", params={"clientId": client_id}) as socket:
            yield Listener(socket)


class Listener:
    """One open socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, dict[str, Any]]:
        """The next message as its type and its data; the end when the socket closes."""
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise StopAsyncIteration
        told = json.loads(message.data)
        return told["type"], told["data"]

    async def until(self, kind: str, **data: Any) -> list[tuple[str, dict[str, Any]]]:
        """All messages up to one of this kind with this data, or to the end."""
        heard = []
        async for told in self:
            heard.append(told)
            if told[0] == kind and data.items() <= told[1].items():
                break
        return heard


@asynccontextmanager
async def simulated(**settings: Any) -> AsyncIterator[Client]:
    """A simulator on a free port and a client for it."""
    async with Simulator(**settings) as simulator, aiohttp.ClientSession() as session:
        yield Client(simulator, session)
