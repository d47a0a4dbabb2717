"""The tables of index.db, as migrations. Only ever add to them, with ADD COLUMN or plain SQL.

`generations.rowid` is chosen by us: the seconds of the timestamp times 4096, plus the first free place in that second.
So `ORDER BY rowid DESC` is newest first, also in full-text results, where sorting by anything else costs a thousand
times as much. It never changes while the row lives; the full-text tables rely on that.

Seeds go up to 2**64-1, SQLite's integers only to 2**63-1: `seed_text` is exact for every seed, `seed` is NULL above.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

APPLICATION_ID: Final = 0x43474931  # "CGI1"
SCHEMA_VERSION: Final = 1
migrations: Final = Migrations("comfygen-index")

COLUMNS: Final = {
    "key": "TEXT PRIMARY KEY NOT NULL",
    "timestamp": "TEXT NOT NULL",
    "prompt": "TEXT NOT NULL",
    "negative_prompt": "TEXT NOT NULL",
    "workflow": "TEXT",
    "preset": "TEXT",
    "seed": "INTEGER",
    "seed_text": "TEXT",
    "steps": "INTEGER",
    "cfg": "REAL",
    "sampler": "TEXT",
    "scheduler": "TEXT",
    "validation_score": "REAL",
    "minio_url": "TEXT",
    "width": "INTEGER",
    "height": "INTEGER",
    "frames": "INTEGER",
    "fps": "REAL",
    "denoise": "REAL",
    "model": "TEXT",
    "models": "TEXT NOT NULL",
    "vae": "TEXT",
    "input_image": "TEXT",
    "tags": "TEXT NOT NULL",
    "project": "TEXT",
    "id": "TEXT",
    "request": "TEXT",
    "job": "TEXT",
    "batch_index": "INTEGER",
    "batch_of": "INTEGER",
    "image_index": "INTEGER",
    "output_node": "TEXT",
    "media_type": "TEXT",
    "bytes": "INTEGER",
    "sha256": "TEXT",
    "graph_sha256": "TEXT",
    "queued_at": "TEXT",
    "submitted_at": "TEXT",
    "started_at": "TEXT",
    "finished_at": "TEXT",
    "generated_at": "TEXT",
    "run_seconds": "REAL",
    "attempts": "INTEGER",
    "backend": "TEXT",
    "comfyui_version": "TEXT",
    "comfygen_version": "TEXT",
    "simulated": "INTEGER NOT NULL",
    "image_missing": "INTEGER NOT NULL",
    "source": "TEXT NOT NULL",
    "sidecar_key": "TEXT NOT NULL",
    "sidecar_etag": "TEXT NOT NULL",
}

_LINES: Final = ",\n    ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
TABLES: Final = (
    f"CREATE TABLE generations (\n    {_LINES}\n)",
    """CREATE TABLE loras (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
)""",
    """CREATE TABLE generation_loras (
    generation_key TEXT NOT NULL REFERENCES generations (key) ON DELETE CASCADE,
    lora_id INTEGER NOT NULL REFERENCES loras (id),
    position INTEGER NOT NULL,
    strength REAL NOT NULL,
    strength_clip REAL,
    branch TEXT,
    timestamp TEXT NOT NULL,
    PRIMARY KEY (generation_key, position)
) WITHOUT ROWID""",
    "CREATE TABLE problems (key TEXT PRIMARY KEY NOT NULL, reason TEXT NOT NULL, etag TEXT NOT NULL)",
    """CREATE TABLE sources (
    id TEXT PRIMARY KEY NOT NULL,
    reconciled_at TEXT,
    objects INTEGER NOT NULL,
    generations INTEGER NOT NULL,
    problems INTEGER NOT NULL
)""",
)
INDEXES: Final = (
    # Walked backwards: newest first, ties by ascending key, which is how Datasette pages through them. (Time only
    # grows: an index that is descending itself would be written at its front, and its pages stay half empty.)
    "CREATE INDEX generations_newest ON generations (timestamp, key DESC)",
    "CREATE UNIQUE INDEX generations_sidecar ON generations (sidecar_key)",
    "CREATE INDEX generations_seed ON generations (seed)",
    "CREATE INDEX generations_big_seed ON generations (substr('0' || seed_text, -20)) WHERE length(seed_text) > 18",
    "CREATE INDEX generations_score ON generations (validation_score) WHERE validation_score IS NOT NULL",
    *(
        f"CREATE INDEX generations_{name} ON generations ({name})"
        for name in ("preset", "workflow", "sampler", "model", "project")
    ),
    "CREATE INDEX generations_request ON generations (request) WHERE request IS NOT NULL",
    "CREATE INDEX generations_job ON generations (job) WHERE job IS NOT NULL",
    "CREATE INDEX generation_loras_newest ON generation_loras (lora_id, timestamp, generation_key DESC)",
)


@migrations()
def first_tables(db: Database) -> None:
    """Generations with their LoRAs, what could not be read, and where it all came from."""
    for statement in (*TABLES, *INDEXES):
        db.execute(statement)
