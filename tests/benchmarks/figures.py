"""Figures of a benchmark: quantiles, in a line that says what they are."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def line(what: str, seconds: Sequence[float]) -> str:
    """Median, 95th and 99th percentile and maximum, in milliseconds."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    shown = "  ".join(
        f"{name} {value:8.2f}" for name, value in (("p50", at(0.5)), ("p95", at(0.95)), ("p99", at(0.99)))
    )
    return f"{what:48} {shown}  max {1000 * ordered[-1]:8.2f}  ms  (n={len(ordered)})"


def ratio(ours: Sequence[float], floor: Sequence[float]) -> str:
    """How many times the floor our median is."""
    return f"{statistics.median(ours) / statistics.median(floor):.1f} times the floor"


def resident(pid: int) -> tuple[float, float]:
    """Resident memory of a process now, and at its highest, in MiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123
        told = dict(each.split(":", 1) for each in status)
    return tuple(int(told[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
