"""From a request file's rename into the inbox to `POST /prompt`, and on to its result; the floor is a bare client.

python -m tests.benchmarks.drop_to_prompt [--n 100]

The bare client sends the graph that the service sent (with other seeds, so that nothing is cached), over connections
that stand, waits for its websocket to say that the prompt is done, and fetches the picture: nothing is checked, stored
or remembered. Both take turns. The service runs with the limits it has by default.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from comfygen.graph import Graph
from comfygen.simulator import Simulator
from tests.acceptance.harness import REQUEST, Folders, House, until
from tests.benchmarks.figures import HEAD, line, ratio

PAUSE = 0.1  # between two drops, so that each finds everything at rest
LOOK = 0.001
Times = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Bare:
    """A client that does only what must be done."""

    session: aiohttp.ClientSession
    socket: aiohttp.ClientWebSocketResponse
    client_id: str
    simulator: Simulator

    async def run(self, graph: Graph, seed: int) -> Times:
        """Seconds until the prompt arrived, and until its picture was here."""
        graph, prompt = copy.deepcopy(graph), str(uuid.uuid4())
        for node in graph.values():
            if "seed" in node["inputs"]:
                node["inputs"]["seed"] = seed
        body = {"prompt": graph, "client_id": self.client_id, "prompt_id": prompt}
        begun, before = time.time(), len(self.simulator.posted)
        async with self.session.post("/prompt", json=body) as answer:
            assert answer.status == 200, await answer.text()
        await self._done(prompt)
        await self._fetch(prompt)
        return self.simulator.posted[before].received_at - begun, time.time() - begun

    async def _done(self, prompt: str) -> None:
        async for message in self.socket:
            told = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {}
            about = told.get("data", {})
            if told.get("type") == "executing" and about.get("node") is None and about.get("prompt_id") == prompt:
                return

    async def _fetch(self, prompt: str) -> None:
        async with self.session.get(f"/history/{prompt}") as answer:
            outputs = (await answer.json())[prompt]["outputs"]
        image = next(image for output in outputs.values() for image in output["images"])
        async with self.session.get("/view", params=image) as answer:
            await answer.read()


async def ours(home: House, simulator: Simulator, n: int) -> Times:
    """Seconds until the prompt arrived, and until the result lay in done/."""
    name, before = f"lake-{n}.yaml", len(simulator.posted)
    result = home.folder / "requests" / "done" / f"{name}.result.json"
    await asyncio.sleep(PAUSE)
    begun = time.time()
    home.drop(name, REQUEST + f"seed: {n}\n")
    while not result.exists():
        await asyncio.sleep(LOOK)
    return simulator.posted[before].received_at - begun, time.time() - begun


async def measure(home: House, simulator: Simulator, number: int) -> tuple[list[Times], list[Times]]:
    """What the service took and what the bare client took, in turns."""
    await ours(home, simulator, number)  # a first one, for everything that is done once
    graph, client_id = simulator.posted[0].graph, uuid.uuid4().hex
    async with (
        aiohttp.ClientSession(simulator.url) as session,
        session.ws_connect("/ws", params={"clientId": client_id}) as socket,
    ):
        bare = Bare(session=session, socket=socket, client_id=client_id, simulator=simulator)
        await bare.run(graph, 20_000)
        pairs = [(await ours(home, simulator, n), await bare.run(graph, 10_000 + n)) for n in range(number)]
    return [ours for ours, _ in pairs], [bare for _, bare in pairs]


async def main(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Simulator() as simulator:
            home = House(Path(folder), simulator.url, Folders(Path(folder)), limits="")
            await home.start()
            try:
                await until(lambda: "serving" in home.log)
                service, floor = await measure(home, simulator, number)
            finally:
                await home.stop()
    (to_prompt, to_result), (floor_prompt, floor_picture) = zip(*service, strict=True), zip(*floor, strict=True)
    print(HEAD)
    print(line("drop -> POST /prompt", to_prompt))
    print(line("  floor: bare client, POST -> its arrival", floor_prompt))
    print(line("drop -> result in done/", to_result))
    print(line("  floor: bare client, POST -> picture", floor_picture))
    print(ratio("drop -> POST /prompt", to_prompt, floor_prompt))
    print(ratio("drop -> result", to_result, floor_picture))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100, help="how many requests")
    asyncio.run(main(parser.parse_args().n))
