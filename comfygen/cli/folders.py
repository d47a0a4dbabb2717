"""Folders: everything of one trial run in one folder: configuration, inbox, store, state and logs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the service wrote beside a request that has ended."""

    name: str
    ok: bool
    told: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Folders:
    """A folder with a configuration whose inbox is `requests`, whose store is `outputs`."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "comfygen.yaml"

    @property
    def inbox(self) -> Path:
        return self.folder / "requests"

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    @property
    def index(self) -> Path:
        return self.folder / "state" / "index.db"

    def make(self, config: str) -> None:
        """Make the inbox, and write the configuration."""
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.config.write_text(config, encoding="utf-8")

    def put(self, name: str, content: bytes) -> None:
        """Drop a file into the inbox in one step: the service may read it at any moment."""
        part = self.inbox / f".{name}.part"
        part.write_bytes(content)
        part.rename(self.inbox / name)

    def report(self, name: str) -> Report | None:
        """How the request of this file name ended; None while it has not."""
        for place, suffix in (("done", ".result.json"), ("failed", ".error.json")):
            path = self.inbox / place / f"{name}{suffix}"
            if path.exists():
                return Report(name=name, ok=place == "done", told=json.loads(path.read_bytes()))
        return None

    def indexed(self) -> list[str]:
        """The keys in index.db; none while there is no index."""
        try:
            with closing(sqlite3.connect(f"file:{quote(str(self.index))}?mode=ro", uri=True)) as index:
                return [str(key) for (key,) in index.execute("SELECT key FROM generations ORDER BY key")]
        except sqlite3.OperationalError:
            return []
