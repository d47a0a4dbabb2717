"""Rebuilding the index from a bucket: how fast beside raw GETs of the same objects, and in how much memory.

python -m tests.benchmarks.rebuild [--n 20000]

A double in a process of its own holds the pictures and their sidecars. Raw GETs (a bare aiobotocore client, sixteen at
once, bodies read and forgotten) run before and after the rebuild, which is what `comfygen reindex` does: list, read,
parse, and write into a new index.db. All of it happens in this one process, whose CPU time is told as well: the double
takes as much, so that on a busy machine the wall clock says little.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from comfygen.index import Index
from comfygen.minio_client import MinioStore, StoreSettings
from comfygen.sidecar import sidecar_key
from comfygend.board import Board
from comfygend.indexer import Indexer
from comfygend.looking import Lookout
from comfygend.threads import OnThread
from tests.benchmarks.figures import resident
from tests.benchmarks.sidecars import sidecars
from tests.minio_double import MinioDouble
from tests.minio_double.process import ROOT

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

AT_ONCE = 16
Spent = tuple[float, float]  # seconds by the clock on the wall, and of CPU
BUCKET, ACCESS, SECRET = "comfy-gen", "comfygen", "comfygen-secret"
HOLD = "--hold"


async def hold(number: int) -> None:
    """Be a double with so many outputs, until the end."""
    async with MinioDouble() as double:
        await double.make_bucket(BUCKET)
        for key, body in sidecars(number):
            double.state.storage.put(BUCKET, key, b"picture", {"content-type": "image/png"})
            double.state.storage.put(BUCKET, sidecar_key(key), body, {"content-type": "application/json"})
        print(double.endpoint, flush=True)
        await asyncio.Event().wait()


@asynccontextmanager
async def held(number: int) -> AsyncIterator[str]:
    """The address of such a double."""
    command = (sys.executable, "-m", "tests.benchmarks.rebuild", HOLD, "--n", str(number))
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def get_all(s3: S3Client, keys: Iterator[str]) -> None:
    """One of the sixteen."""
    for key in keys:
        answer = await s3.get_object(Bucket=BUCKET, Key=key)
        async with answer["Body"] as stream:
            await stream.read()


def spent(since: Spent = (0.0, 0.0)) -> Spent:
    """Time and CPU time of this process since a moment."""
    return time.perf_counter() - since[0], time.process_time() - since[1]


async def raw(endpoint: str, keys: list[str]) -> Spent:
    """What reading all sidecars takes."""
    session = get_session()
    session.set_credentials(ACCESS, SECRET)
    config = AioConfig(s3={"addressing_style": "path"}, max_pool_connections=2 * AT_ONCE)
    async with session.create_client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config) as s3:
        await get_all(s3, iter(keys[:AT_ONCE]))
        shared, begun = iter(keys), spent()
        await asyncio.gather(*(get_all(s3, shared) for _ in range(AT_ONCE)))
        return spent(begun)


async def rebuild(endpoint: str, path: Path) -> tuple[int, Spent]:
    """How many sidecars were read into a new index, and what that took."""
    settings = StoreSettings(endpoint=endpoint, bucket=BUCKET, access_key=ACCESS, secret_key=SECRET)
    async with MinioStore.open(settings) as store, OnThread("index", lambda: Index.open(path)) as index:
        lookout = Lookout(store=store, index=index, source=f"bucket:{BUCKET}/")
        indexer = Indexer(lookout, board=Board(), reconcile_seconds=600)
        begun = spent()
        tally = await indexer.once()
        return tally.read, spent(begun)


def told(what: str, number: int, took: Spent) -> str:
    """One line of the table."""
    seconds, cpu = took
    return f"{what:50}{seconds:8.1f} s{number / seconds:8.0f}/s{1000 * cpu / number:8.2f} ms CPU each"


async def main(number: int) -> None:
    async with held(number) as endpoint:
        keys = [sidecar_key(key) for key, _ in sidecars(number)]
        first, (before, _) = await raw(endpoint, keys), resident()
        with tempfile.TemporaryDirectory() as folder:
            read, ours = await rebuild(endpoint, Path(folder) / "index.db")
        (after, highest), second = resident(), await raw(endpoint, keys)
    assert read == number, f"{read} of {number} sidecars were read"
    print(told(f"rebuild of {number} sidecars ({2 * number} objects)", number, ours))
    print(told(f"  floor: raw GETs, {AT_ONCE} at once, before", number, first))
    print(told(f"  floor: raw GETs, {AT_ONCE} at once, after", number, second))
    wall, cpu = (2 * mine / (one + other) for mine, one, other in zip(ours, first, second, strict=True))
    print(f"rebuild: {wall:.2f} times the floor by the clock, {cpu:.2f} times its CPU")
    print(f"resident memory: before {before:.0f} MiB, after {after:.0f} MiB, highest {highest:.0f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000, help="how many sidecars")
    parser.add_argument(HOLD, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    asyncio.run(hold(arguments.n) if arguments.hold else main(arguments.n))
