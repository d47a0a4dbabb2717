"""The journal: every prompt that was accepted and every run; in a file, if one is given, beyond a restart."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfygen.graph import Graph, canonical, graph_sha256


@dataclass(frozen=True, kw_only=True)
class Posted:
    """A prompt as it was accepted; `received_at` in seconds since the epoch."""

    prompt_id: str
    graph: Graph
    client_id: str | None
    received_at: float
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """All but the graph."""
        told = {"prompt_id": self.prompt_id, "sha256": self.sha256}
        return told | {"client_id": self.client_id, "received_at": self.received_at}


class Journal:
    """`runs` counts the runs that ended in success, by prompt id; `samplers` the samplers that ran through."""

    def __init__(self, file: Path | None = None) -> None:
        self.posted: list[Posted] = []
        self.runs: Counter[str] = Counter()
        self.samplers = 0
        self._file = file.open("a", encoding="utf-8") if file else None

    def accepted(self, prompt_id: str, graph: Graph, client_id: str | None) -> None:
        now = time.time()
        self.posted.append(
            Posted(prompt_id=prompt_id, graph=graph, client_id=client_id, received_at=now, sha256=sha256_of(graph))
        )
        self._line({"event": "accepted", **self.posted[-1].to_json()})

    def started(self, prompt_id: str) -> None:
        self._line({"event": "started", "prompt_id": prompt_id, "at": time.time()})

    def ended(self, prompt_id: str, status: str, samplers: int = 0) -> None:
        """`status`: success, error, interrupted, or lost with the server."""
        self.runs[prompt_id] += status == "success"
        self.samplers += samplers
        told = {"event": "ended", "prompt_id": prompt_id, "at": time.time()}
        self._line(told | {"status": status, "sampler_runs": samplers})

    def close(self) -> None:
        if self._file:
            self._file.close()

    def to_json(self) -> dict[str, Any]:
        posted = [entry.to_json() for entry in self.posted]
        return {"simulated": True, "posted": posted, "runs": dict(+self.runs), "sampler_runs": self.samplers}

    def _line(self, value: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(value) + "\n")
            self._file.flush()


def sha256_of(graph: Graph) -> str:
    """The SHA-256 of the canonical graph; of its plain JSON where that has none, as with NaN."""
    try:
        return graph_sha256(graph)
    except ValueError:
        return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()


def text_of(graph: Graph) -> str:
    """The graph as one text, for whoever looks for a word in it."""
    try:
        return canonical(graph)
    except ValueError:
        return json.dumps(graph, ensure_ascii=False)
