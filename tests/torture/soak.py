"""Soak: the memory and the open files of the service over time."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.torture.processes import Service

EVERY = 60  # so many looks at the whole
WARM = 0.3  # the first looks say how it grows into its size
GROWTH, SPARE_KB, SPARE_FILES = 1.15, 8 * 1024, 6


@dataclass
class Samples:
    """Looks at one process: seconds, kB, files, ended requests."""

    looks: list[tuple[float, int, int, int]] = field(default_factory=list)

    @property
    def flat(self) -> bool:
        """Whether the last third is like the one before."""
        return self._is_flat(1, SPARE_KB) and self._is_flat(2, SPARE_FILES)

    def _is_flat(self, column: int, spare: int) -> bool:
        values = [look[column] for look in self.looks][int(len(self.looks) * WARM) :]
        half = len(values) // 2
        before, after = values[:half], values[half:]
        if not before:
            return True
        return statistics.median(after) <= max(statistics.median(before) * GROWTH, statistics.median(before) + spare)

    def told(self) -> str:
        """A line for every tenth."""
        tenth = max(len(self.looks) // 10, 1)
        lines = [
            f"{t / 60:6.1f} min {kb / 1024:7.1f} MB {files:4} files {ended:6} ended"
            for t, kb, files, ended in self.looks[::tenth]
        ]
        return "\n".join([*lines, f"memory and open files are {'flat' if self.flat else 'NOT FLAT'}"])


async def sample(service: Service, seconds: float, ended: Callable[[], Awaitable[int]]) -> Samples:
    """Look at a service that goes on for so long."""
    samples, begun = Samples(), time.monotonic()
    for n in range(1, EVERY + 1):
        await asyncio.sleep(max(0.0, begun + n * seconds / EVERY - time.monotonic()))
        kb, files = service.memory
        samples.looks.append((time.monotonic() - begun, kb, files, await ended()))
        if n % (EVERY // 10) == 0:
            print(samples.told().splitlines()[-2], flush=True)
    return samples
