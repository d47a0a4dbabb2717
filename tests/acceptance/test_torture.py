"""A short torture; the long ones are run by hand: `python -m tests.torture --n 1000 --seed 1`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.acceptance.harness import GUARD

ROOT = Path(__file__).parents[2]


async def test_a_short_torture_loses_doubles_and_breaks_nothing(tmp_path: Path) -> None:
    """Forty requests into a folder and a bucket, while service, ComfyUI and store are killed and misbehave."""
    words = ("--n", "40", "--seed", "1", "--kind", "mixed", "--folder", tmp_path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.torture", *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(GUARD):
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    assert b"requests: 40" in told
