"""Journal: what the simulated ComfyUI ran, over all its lives, read from its log."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SLACK = 0.05  # between two clocks that are read one after the other


@dataclass
class Runs:
    """The prompts of one job."""

    accepted: list[tuple[float, str]] = field(default_factory=list)
    good: list[tuple[float, str]] = field(default_factory=list)  # a sampler ran through: the GPU's work
    bad: list[str] = field(default_factory=list)  # error, interrupted, lost
    begun: int = 0

    def needless(self, deaths: Iterable[float]) -> int:
        """How often the GPU did its work once more although ComfyUI had not died in between."""
        good, count = sorted(self.good), 0
        for (ended, _), (_, prompt) in itertools.pairwise(good):
            posted = next(at for at, known in self.accepted if known == prompt)
            count += not any(ended - SLACK <= death <= posted + SLACK for death in deaths)
        return count


def read_journal(paths: Iterable[Path], jobs: Mapping[str, str]) -> tuple[dict[str, Runs], list[float], list[str]]:
    """The runs of every job, the times when ComfyUI lost what it had, and prompts that are nobody's.

    `paths` are the journals of all servers. `jobs` says which job a prompt belongs to. A last line that a kill has cut
    off is left out.
    """
    runs: dict[str, Runs] = defaultdict(Runs)
    deaths: list[float] = []
    strangers: list[str] = []
    for line in itertools.chain.from_iterable(map(_lines, paths)):
        job = jobs.get(line["prompt_id"])
        if job is None:
            strangers.append(line["prompt_id"])
            continue
        _take(runs[job], line)
        if line.get("status") == "lost":
            deaths.append(line["at"])
    return dict(runs), deaths, sorted(set(strangers))


def _take(runs: Runs, line: Mapping[str, Any]) -> None:
    match line["event"], line.get("status"):
        case "accepted", _:
            runs.accepted.append((line["received_at"], line["prompt_id"]))
        case "started", _:
            runs.begun += 1
        case "ended", "success":
            if line["sampler_runs"]:
                runs.good.append((line["at"], line["prompt_id"]))
        case _, status:
            runs.bad.append(str(status))


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(text)
        except ValueError:
            continue
