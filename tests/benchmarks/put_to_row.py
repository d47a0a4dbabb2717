"""From a foreign client's PUT of a sidecar to its row in Datasette's JSON; the floor is a bare listener's event.

python -m tests.benchmarks.put_to_row [--n 500]

Double, service, Datasette, a bare listener, and this process, which writes with boto3, are processes of their own. The
clock starts when the PUT is answered (the server sends the event before that), and also when it begins. When the bare
listener has the event, nobody could have known of the object much earlier. A row counts as visible when Datasette
answers with it, so that each figure includes such an answer; the last line of the table is the answer alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import boto3

from comfygen.config import load_config
from comfygen.datasette import history_command
from tests.acceptance.harness import Buckets, House, until
from tests.benchmarks.figures import HEAD, line, ratio
from tests.benchmarks.sidecars import sidecars
from tests.minio_double.process import ROOT, double_process

BUCKET, ACCESS, SECRET = "comfy-gen", "comfygen", "comfygen-secret"
NOBODY = "http://127.0.0.1:9"  # no ComfyUI is needed
PAUSE, LOOK = 0.02, 0.001


class Elsewhere(Buckets):
    """A bucket of a double in another process."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    @property
    def config(self) -> str:
        return (
            f"inbox:\n  - prefix: requests/\nstore:\n  endpoint: {self.endpoint}\n  bucket: {BUCKET}\n"
            f"  access_key: {ACCESS}\n  secret_key: {SECRET}\n"
        )


class Foreign:
    """Somebody who writes into the bucket without us."""

    def __init__(self, endpoint: str) -> None:
        self._s3 = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def put(self, key: str, body: bytes) -> tuple[float, float]:
        """Write an object; when that began, and when it was answered."""
        begun = time.perf_counter()
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return begun, time.perf_counter()


class Bare:
    """A listener in a process of its own: its clock is the machine's, as ours is."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def heard(self, key: str) -> float:
        """When the event of this object came. (Those of others, a canary's say, are passed over.)"""
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            name, when = json.loads(line)
            if name == key:
                return float(when)
        raise EOFError("The bare listener has ended.")


class Rows:
    """What Datasette says."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def seen(self, key: str) -> float:
        """When it first answers with the row of this key."""
        query = {"key": key, "_shape": "array", "_nocount": "1", "_nofacet": "1", "_col": "key"}
        while True:
            async with self.session.get("/index/generations.json", params=query) as answer:
                if await answer.json():
                    return time.perf_counter()
            await asyncio.sleep(LOOK)


@contextmanager
def datasette(home: House) -> Iterator[str]:
    """The history of a configuration, served."""
    command = history_command(load_config(home.config, {}), port=0)
    with (home.folder / "datasette.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield _address(home.folder / "datasette.log")
        finally:
            process.terminate()
            process.wait()


def _address(log: Path) -> str:
    while "running on http://" not in (text := log.read_text(encoding="utf-8")):
        time.sleep(0.05)
    return "http://" + text.partition("running on http://")[2].split()[0]


@asynccontextmanager
async def listener(endpoint: str) -> AsyncIterator[Bare]:
    """A bare listener that is connected: it has heard the event of an object that is written until it does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.listening", endpoint, BUCKET, ACCESS, SECRET),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        bare = Bare(process)
        await bare.heard("")
        yield bare
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[tuple[Foreign, Bare, Rows]]:
    """Everything that runs."""
    async with double_process(BUCKET) as double:
        home = House(folder, NOBODY, Elsewhere(double.endpoint), limits="")
        await home.start()
        try:
            await until(lambda: "notifications: listening" in home.log)
            with datasette(home) as address:
                async with aiohttp.ClientSession(address) as session, listener(double.endpoint) as bare:
                    yield Foreign(double.endpoint), bare, Rows(session)
        finally:
            await home.stop()


async def one(foreign: Foreign, bare: Bare, rows: Rows, key: str, body: bytes) -> tuple[float, float, float, float]:
    """Seconds from the PUT's answer to the row, from its beginning to the row, from its answer to the event, and that
    one more answer of Datasette takes."""
    await asyncio.to_thread(foreign.put, key, b"picture")
    await asyncio.sleep(PAUSE)
    begun, answered = await asyncio.to_thread(foreign.put, f"{key}.json", body)
    visible = await rows.seen(key)
    again = time.perf_counter()
    answer = await rows.seen(key) - again
    return visible - answered, visible - begun, await bare.heard(f"{key}.json") - answered, answer


async def main(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with stage(Path(folder)) as (foreign, bare, rows):
            measured = [await one(foreign, bare, rows, *each) for each in sidecars(number + 5)][5:]
    from_answer, from_begin, events, queries = zip(*measured, strict=True)
    print(HEAD)
    print(line("sidecar PUT answered -> row visible", from_answer))
    print(line("sidecar PUT begun -> row visible", from_begin))
    print(line("  floor: PUT answered -> bare listener's event", events))
    print(line("  floor: one answer of Datasette", queries))
    floor = [event + query for event, query in zip(events, queries, strict=True)]
    print(ratio("PUT -> row, beside event + one answer", from_answer, floor))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500, help="how many sidecars")
    asyncio.run(main(parser.parse_args().n))
