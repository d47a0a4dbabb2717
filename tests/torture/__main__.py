"""`python -m tests.torture --n N --seed S [--kind K] [--services 1|2] [--comfyuis C]`, or `--soak MINUTES`.

Ends with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.run import CALM, Stage, stage, told
from tests.torture.soak import Samples, sample
from tests.torture.verdict import Verdict, judge

MOST_SHOWN = 20
ON_THEIR_WAY = 60


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="how many requests are dropped")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=("folder", "bucket", "mixed"), default="mixed")
    parser.add_argument("--services", type=int, choices=(1, 2), default=1, help="2 share a bucket")
    parser.add_argument("--comfyuis", type=int, default=1, help="how many servers share the work")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="go on for so long, without killing the service")
    parser.add_argument("--pace", type=float, help="how far apart things go wrong: 1, and 2 in a soak; 1000 is never")
    parser.add_argument("--folder", type=Path, help="work there, and keep everything")
    chosen = parser.parse_args(words)
    if chosen.services == 2 and chosen.kind != "bucket":
        parser.error("two services share a bucket: --kind bucket")
    return chosen


async def main(chosen: argparse.Namespace, folder: Path) -> bool:
    """Torture, and tell. Whether all was well."""
    begun = time.monotonic()
    killing = chosen.soak is None
    pace = chosen.pace or (1 if killing else 2)
    size = {"services": chosen.services, "comfyuis": chosen.comfyuis}
    async with stage(folder, seed=chosen.seed, kind=chosen.kind, killing=killing, **size) as made:
        made.weather.pace = pace
        blowing = asyncio.create_task(made.weather.run(), name="weather")
        samples = None
        if chosen.soak:
            samples = await _soak(made, 60 * chosen.soak)
        else:
            await _drop(made, chosen.n)
        blowing.cancel()
        await asyncio.gather(blowing, return_exceptions=True)
        if not blowing.cancelled():
            blowing.result()
        await made.weather.heal()
        ended = await made.until_ended(1.0)
        await made.until_quiet()
        await made.halt()
        verdict = judge(await made.facts())
        _tell(made, verdict, (time.monotonic() - begun) / 60)
    if samples is not None:
        print(samples.told())
    return verdict.ok and ended and (samples is None or samples.flat)


async def _drop(made: Stage, n: int) -> None:
    orders = made.more()
    await made.drop(order for order, _ in zip(orders, range(n), strict=False))
    await made.until_ended(CALM, patience=60)


async def _soak(made: Stage, seconds: float) -> Samples:
    dropping = asyncio.create_task(made.drop(made.more(), most=ON_THEIR_WAY), name="dropping")
    samples = await sample(made.services[0], seconds, made.ended)
    dropping.cancel()
    await asyncio.wait([dropping])
    return samples


def _tell(made: Stage, verdict: Verdict, minutes: float) -> None:
    for name, value in told(made).items():
        print(f"{name}: {value}")
    print(f"requests: {len(made.orders)}, jobs: {sum(len(order.seeds) for order in made.orders)}")
    print(f"jobs that failed with a reason: {dict(verdict.failed)}")
    print(f"GPU runs repeated, because ComfyUI had died: {verdict.repeated}")
    for name in ("lost", "doubled", "wrong"):
        found: list[str] = getattr(verdict, name)
        print(f"{name}: {len(found)}", *found[:MOST_SHOWN], sep="\n    ")
    print(f"minutes: {minutes:.1f}", flush=True)


def run() -> int:
    chosen = arguments(sys.argv[1:])
    if chosen.folder is not None:
        chosen.folder.mkdir(parents=True, exist_ok=True)
        return 0 if asyncio.run(main(chosen, chosen.folder.resolve())) else 1
    with tempfile.TemporaryDirectory(prefix="comfygen-torture-") as folder:
        return 0 if asyncio.run(main(chosen, Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(run())
