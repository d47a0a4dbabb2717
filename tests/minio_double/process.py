"""Process: the double in a process of its own, with its knobs over HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class RemoteDouble:
    """A double that runs elsewhere."""

    endpoint: str
    session: aiohttp.ClientSession

    async def knob(self, name: str, /, **arguments: Any) -> Any:
        """Turn a knob by its name in `Knobs`; raises ValueError with the reason if it does not turn."""
        async with self.session.post(f"{self.endpoint}/double/{name}", json=arguments) as response:
            answer = await response.json()
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["result"]


@asynccontextmanager
async def double_process(*buckets: str) -> AsyncIterator[RemoteDouble]:
    """Run a double with these buckets until the block ends."""
    chosen = [part for bucket in buckets for part in ("--bucket", bucket)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.minio_double", *chosen, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        endpoint = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as session:
            yield RemoteDouble(endpoint=endpoint, session=session)
    finally:
        process.terminate()
        await process.wait()
