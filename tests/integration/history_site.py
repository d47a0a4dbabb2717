"""A small history to look at: a folder store with outputs and sidecars, its index, and a Datasette on top."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from datasette.app import Datasette

from comfygen.config import Config, load_config
from comfygen.datasette import history_command
from comfygen.datasette.configuration import SETTINGS
from comfygen.generation import Generation, read_sidecar
from comfygen.images import png_bytes
from comfygen.index import Index

ODD_KEY = "odd/50% #1 äöü & 'x', 🚗.png"

BUCKET = """store:
  endpoint: http://127.0.0.1:9
  bucket: comfy-gen
  prefix: outputs/
  access_key: reader
  secret_key: do-not-tell
  policy: {policy}
"""


def png(red: int = 200, size: int = 300) -> bytes:
    return png_bytes(bytes((red, 40, 90)) * (size * size), size, size)


def sidecar(n: int, **changes: object) -> bytes:
    """A sidecar of second `n`."""
    plain: dict[str, object] = {
        "timestamp": f"2026-01-04T01:10:{n:02}Z",
        "prompt": f"a quiet lake, number {n}",
        "negative_prompt": "blurry",
        "workflow": "flux-dev.json",
        "seed": 10_000 + n,
        "steps": 20,
        "cfg": 7.0,
        "sampler": "euler",
        "scheduler": "normal",
        "loras": [],
        "preset": "balanced",
        "validation_score": None,
        "minio_url": f"http://127.0.0.1:8001/-/output/{n}.png",
    }
    return json.dumps(plain | changes).encode()


class Site:
    """The folder, its configuration, and what is in it."""

    def __init__(self, folder: Path, store: str = "store:\n  folder: ./outputs\n") -> None:
        self.file = folder / "comfygen.yaml"
        self.file.write_text(f"state_dir: ./state\n{store}history: 127.0.0.1:0\n")
        self.outputs = folder / "outputs"
        self.outputs.mkdir()

    @property
    def config(self) -> Config:
        return load_config(self.file, {})

    def add(self, outputs: Mapping[str, tuple[bytes | None, bytes]]) -> list[Generation]:
        """Put outputs (None: gone) with their sidecars into the store and the index."""
        rows = []
        for key, (output, body) in outputs.items():
            path = self.outputs / key
            path.parent.mkdir(parents=True, exist_ok=True)
            if output is not None:
                path.write_bytes(output)
            rows.append(read_sidecar(f"{key}.json", body, etag=hashlib.md5(body).hexdigest()))
        with closing(Index.open(self.config.index_db)) as index:
            index.upsert_many(rows)
        return rows

    @asynccontextmanager
    async def datasette(self) -> AsyncIterator[Any]:
        """Datasette as `comfygen history` would start it, but without a port."""
        argv = history_command(self.config)
        files = [part for part in argv if part.endswith(".db")]
        plain = json.loads(Path(argv[argv.index("--metadata") + 1]).read_text())
        opened = Datasette(files, metadata=plain, settings={name: int(value) for name, value in SETTINGS.items()})
        await opened.invoke_startup()
        try:
            yield opened
        finally:
            opened.executor.shutdown()
            for database in opened.databases.values():
                database.close()


def make_queue(path: Path) -> None:
    """The two tables of queue.db that history asks about."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as queue, queue:
        queue.execute("create table requests (id text primary key, name, state, error, received_at, ended_at, body)")
        queue.execute("create table jobs (id text primary key, request_id, state, error)")
        failed = json.dumps({"code": "request_invalid", "message": "There is no workflow 'flux-devv'."})
        rows = [
            ("r1", "bad.yaml", "failed", failed, "1"),
            ("r2", "good.yaml", "done", None, "2"),
            ("r3", "odd", "failed", "plain", "3"),
        ]
        sql = "insert into requests (id, name, state, error, received_at, body) values (?, ?, ?, ?, ?, x'00ff')"
        queue.executemany(sql, rows)
        queue.execute("insert into jobs values ('j1', 'r3', 'failed', 'out of memory')")
