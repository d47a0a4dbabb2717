"""From a file's rename into the inbox to `POST /prompt`, and to its result; the floor is a bare client.

python -m tests.benchmarks.drop_to_prompt [N]
"""

from __future__ import annotations

import asyncio
import copy
import sys
import tempfile
import time
import uuid
from pathlib import Path

import aiohttp

from comfygen.graph import Graph
from comfygen.simulator import Simulator
from tests.acceptance.harness import REQUEST, House, house, until
from tests.benchmarks.figures import line, ratio


async def bare(simulator: Simulator, graph: Graph, n: int) -> float:
    """The floor: POST, poll the history, GET the picture; nothing is checked, stored or remembered."""
    graph = copy.deepcopy(graph)
    graph["5"]["inputs"]["seed"] = 10_000 + n
    prompt = str(uuid.uuid4())
    begun = time.perf_counter()
    async with aiohttp.ClientSession(simulator.url) as session:
        await session.post("/prompt", json={"prompt": graph, "prompt_id": prompt})
        history: dict[str, dict[str, dict[str, dict[str, list[dict[str, str]]]]]] = {}
        while not history:
            async with session.get(f"/history/{prompt}") as answer:
                history = await answer.json()
        image = history[prompt]["outputs"]["7"]["images"][0]
        async with session.get("/view", params=image) as answer:
            await answer.read()
    return time.perf_counter() - begun


async def ours(home: House, simulator: Simulator, n: int) -> tuple[float, float]:
    """Seconds until the prompt arrived, and until the result lay in done/."""
    name, before = f"lake-{n}.yaml", len(simulator.posted)
    await asyncio.sleep(0.1)
    begun = time.time()
    home.drop(name, REQUEST + f"seed: {n}\n")
    result = home.folder / "requests" / "done" / f"{name}.result.json"
    await until(lambda: result.exists())
    return simulator.posted[before].received_at - begun, time.time() - begun


async def main(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with house(Path(folder)) as (home, simulator):
            await home.start()
            await ours(home, simulator, number)
            graph = simulator.posted[0].graph
            both = [(await ours(home, simulator, n), await bare(simulator, graph, n)) for n in range(number)]
            await home.stop()
    prompts, results = [seen[0][0] for seen in both], [seen[0][1] for seen in both]
    floor = [seen[1] for seen in both]
    print(line("drop to POST /prompt", prompts))
    print(line("drop to result", results))
    print(line("floor: a bare client, POST to picture", floor))
    print("drop to result:", ratio(results, floor))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
