"""Figures: quantiles of what was measured as lines of a small table, beside the floor of the same run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

HEAD = f"{'milliseconds':46}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}{'n':>7}"


def line(what: str, seconds: Sequence[float]) -> str:
    """One line of the table."""
    ordered = sorted(seconds)
    shares = (0.5, 0.95, 0.99, 1.0)
    shown = "".join(f"{1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]:9.2f}" for share in shares)
    return f"{what:46}{shown}{len(ordered):7}"


def ratio(what: str, ours: Sequence[float], floor: Sequence[float]) -> str:
    """By how much our median is more than the floor's."""
    here, there = statistics.median(ours), statistics.median(floor)
    return f"{what}: {here / there:.1f} times the floor, {1000 * (here - there):.1f} ms more"


def resident(pid: int | str = "self") -> tuple[float, float]:
    """Resident memory of a process now, and at its highest, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    told = dict(each.split(":", 1) for each in lines if each.startswith(("VmRSS", "VmHWM")))
    return int(told["VmRSS"].split()[0]) / 1024, int(told["VmHWM"].split()[0]) / 1024
