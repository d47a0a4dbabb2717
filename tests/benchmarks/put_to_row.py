"""From a foreign client's PUT of a sidecar to its row in Datasette's JSON; the floor is a bare listener's event.

python -m tests.benchmarks.put_to_row [N]
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import boto3

from comfygen.config import load_config
from comfygen.datasette import history_command
from tests.acceptance.harness import Buckets, House, house, until
from tests.benchmarks.figures import line, ratio
from tests.minio_double.process import double_process


class Elsewhere(Buckets):
    """A bucket of a double in another process."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    @property
    def config(self) -> str:
        return (
            f"inbox:\n  - prefix: requests/\nstore:\n  endpoint: {self.endpoint}\n  bucket: comfy-gen\n"
            "  access_key: comfygen\n  secret_key: comfygen-secret\n"
        )


def sidecar(n: int) -> bytes:
    return json.dumps({"timestamp": "2026-01-04T01:10:32Z", "prompt": f"lake {n}", "seed": n}).encode()


async def row_seen(session: aiohttp.ClientSession, key: str) -> float:
    """When Datasette first shows the row."""
    query = {"sql": "select key from generations where key = :key", "key": key, "_shape": "array"}
    while True:
        async with session.get("/index.json", params=query) as answer:
            if await answer.json():
                return time.perf_counter()


async def measure(endpoint: str, history: str, number: int) -> tuple[list[float], list[float]]:
    """Seconds from the end of each PUT to its row, and those of one such query alone."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="comfygen",
        aws_secret_access_key="comfygen-secret",
        region_name="us-east-1",
    )
    rows, queries = [], []
    async with aiohttp.ClientSession(history) as session:
        for n in range(number):
            key = f"20260104_{n // 3600 % 24:02}{n // 60 % 60:02}{n % 60:02}_lake-{n}.png"
            await asyncio.to_thread(client.put_object, Bucket="comfy-gen", Key=key, Body=b"picture")
            await asyncio.to_thread(client.put_object, Bucket="comfy-gen", Key=f"{key}.json", Body=sidecar(n))
            begun = time.perf_counter()
            rows.append(await row_seen(session, key) - begun)
            begun = time.perf_counter()
            queries.append(await row_seen(session, key) - begun)
    return rows, queries


async def main(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with house(Path(folder) / "unused") as (_, simulator), double_process("comfy-gen") as double:
            home = House(Path(folder) / "home", simulator.url, Elsewhere(double.endpoint))
            await home.start()
            await until(lambda: "listening" in home.log)
            command = history_command(load_config(home.config, {}), port=18765)
            datasette = (
                await asyncio.create_subprocess_exec(
                    sys.executable, "-m", *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
                )
                if not Path(command[0]).is_absolute()
                else await asyncio.create_subprocess_exec(
                    *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
                )
            )
            try:
                await answering("http://127.0.0.1:18765/-/versions.json")
                rows, queries = await measure(double.endpoint, "http://127.0.0.1:18765", number)
            finally:
                datasette.terminate()
                await datasette.wait()
                await home.stop()
    print(line("end of PUT to row in Datasette's JSON", rows))
    print(line("floor: one query of Datasette alone", queries))
    print("PUT to row:", ratio(rows, queries))


async def answering(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
