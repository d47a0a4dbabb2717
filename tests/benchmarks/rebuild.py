"""Rebuilding the index from a bucket: rate against raw concurrent GETs of the same objects, and memory.

python -m tests.benchmarks.rebuild [N]
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from comfygen.index import Index
from comfygen.minio_client import MinioStore, StoreSettings
from comfygend.board import Board
from comfygend.indexer import Indexer
from comfygend.looking import Lookout
from comfygend.threads import OnThread
from tests.benchmarks.figures import resident
from tests.minio_double.process import double_process

AT_ONCE = 16


def sidecar(n: int) -> bytes:
    loras = [{"name": f"style_{n % 7}.safetensors", "strength": 0.7}]
    told = {"timestamp": "2026-01-04T01:10:32Z", "prompt": f"a mountain lake, number {n}", "seed": n, "loras": loras}
    return json.dumps({**told, "steps": 20, "cfg": 7.0, "workflow": "flux-dev.json"}).encode()


async def at_once(count: int, one: object) -> None:
    """Run `one(n)` for every n, sixteen at a time."""
    assert callable(one)
    numbers = iter(range(count))

    async def hand() -> None:
        for n in numbers:
            await one(n)

    await asyncio.gather(*(hand() for _ in range(AT_ONCE)))


async def main(number: int) -> None:
    async with double_process("comfy-gen") as double:
        settings = StoreSettings(
            endpoint=double.endpoint, bucket="comfy-gen", access_key="comfygen", secret_key="comfygen-secret"
        )
        with tempfile.TemporaryDirectory() as folder:
            async with (
                MinioStore.open(settings) as store,
                OnThread("index", lambda: Index.open(Path(folder) / "index.db")) as index,
            ):

                async def write(n: int) -> None:
                    await store.put(f"2026_{n:06}.png", b"x", content_type="image/png")
                    await store.put(f"2026_{n:06}.png.json", sidecar(n), content_type="application/json")

                async def read(n: int) -> None:
                    await store.get(f"2026_{n:06}.png.json")

                await at_once(number, write)
                begun = time.perf_counter()
                await at_once(number, read)
                raw = time.perf_counter() - begun
                before, _ = resident(os.getpid())
                indexer = Indexer(Lookout(store=store, index=index, source="x"), board=Board(), reconcile_seconds=600)
                begun = time.perf_counter()
                tally = await indexer.once()
                ours = time.perf_counter() - begun
                after, highest = resident(os.getpid())
    print(f"rebuild of {tally.read} sidecars: {ours:6.1f} s  {number / ours:7.0f}/s  ({2 * number} objects listed)")
    print(f"floor, raw GETs, 16 at once:   {raw:6.1f} s  {number / raw:7.0f}/s")
    print(f"rebuild: {ours / raw:.2f} times the floor")
    print(f"resident memory: before {before:.0f} MiB, after {after:.0f} MiB, highest {highest:.0f} MiB")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
