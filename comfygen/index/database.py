"""Index: the one writer of index.db, and the first of its readers."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeVar

from sqlite_utils import Database

from comfygen.generation import SIDECAR_SUFFIX, Generation
from comfygen.index.fulltext import FULL_TEXTS
from comfygen.index.opening import open_index, overwrite, reset, transaction, translated
from comfygen.index.queries import LIMIT, PROMPT_CONTAINS, PROMPT_WORDS, Query
from comfygen.index.rows import SLOTS, Row, first_slot, generation_of, lora_rows, row_of
from comfygen.index.schema import COLUMNS

T = TypeVar("T")
# SQLite takes 32,766 parameters in a statement.
CHUNK: Final = 32_766 // (len(COLUMNS) + 1)

_NAMES: Final = ", ".join(COLUMNS)
_CHANGES: Final = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "key")
_ONE_ROW: Final = f"({', '.join('?' * (len(COLUMNS) + 1))})"
_UPSERT: Final = f"INSERT INTO generations (rowid, {_NAMES}) VALUES {{}} ON CONFLICT (key) DO UPDATE SET {_CHANGES}"
_LORAS: Final = (
    "SELECT gl.generation_key, gl.position, l.name, gl.strength, gl.strength_clip, gl.branch "
    "FROM generation_loras gl JOIN loras l ON l.id = gl.lora_id WHERE gl.generation_key IN ({}) "
    "ORDER BY gl.generation_key, gl.position"
)
_KNOWN: Final = """
SELECT * FROM (
  SELECT key, sidecar_key, sidecar_etag, 0 FROM generations WHERE sidecar_key > :after ORDER BY sidecar_key LIMIT :limit
)
UNION ALL
SELECT * FROM (
  SELECT substr(key, 1, length(key) - 5), key, etag, 1 FROM problems WHERE key > :after ORDER BY key LIMIT :limit
)
ORDER BY 2 LIMIT :limit"""


class Known(NamedTuple):
    """A sidecar that the index has seen: as a generation, or as one that could not be read."""

    key: str
    sidecar_key: str
    sidecar_etag: str
    is_problem: bool


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A sidecar that cannot be read, and why. `key` is its own key."""

    key: str
    reason: str
    etag: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """A store, and what its last complete listing held. `reconciled_at` is a UTC time, None before the first."""

    id: str
    reconciled_at: str | None
    objects: int
    generations: int
    problems: int


class Index:
    """index.db, opened for writing. It belongs to the thread that opened it.

    Every method is one transaction. Raises HistoryError; IndexCorrupt when the file is damaged.
    """

    def __init__(self, db: Database, path: Path) -> None:
        self._db = db
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open (make, migrate, mend the full-text tables of) the index. Raises HistoryError and its kinds."""
        return cls(open_index(path), path)

    @classmethod
    def recreate(cls, path: Path) -> Self:
        """An empty index in place of a damaged one, in the same file if that can be; reconcile fills it."""
        with translated(path):
            overwrite(path)
        return cls.open(path)

    def close(self) -> None:
        """Write everything home and close the file."""
        with translated(self.path):
            self._db.conn.close()

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file; empty it, if no reader needs it any more."""
        with translated(self.path):
            busy, frames, copied = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not busy and frames == copied:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def reset(self) -> None:
        """Forget everything, in one transaction and in the same file: readers see all of it or nothing."""
        with translated(self.path):
            reset(self._db)

    # -- writing --------------------------------------------------------------------------------------------------

    def upsert_many(self, generations: Iterable[Generation]) -> int:
        """Write rows with their LoRAs; later ones win. Gives how many were new or differed. Clears their problems."""
        written = 0
        with translated(self.path), transaction(self._db):
            for chunk in _chunks(generations, CHUNK):
                written += self._upsert({generation.key: generation for generation in chunk})
            if written:
                self._drop_unused_loras()
        return written

    def _upsert(self, generations: dict[str, Generation]) -> int:
        known = self._rows(list(generations))
        changed = [generation for key, generation in generations.items() if known.get(key) != generation]
        if changed:
            self._write_rows(changed, known)
            self._replace_loras(changed)
        sidecars = [(generation.sidecar_key,) for generation in generations.values()]
        self._db.conn.executemany("DELETE FROM problems WHERE key = ?", sidecars)
        return len(changed)

    def _write_rows(self, generations: Sequence[Generation], known: Container[str]) -> None:
        """All rows in one statement: the full-text tables write out what they have at the end of each statement, so
        that row by row is five times as slow."""
        taken: dict[int, int] = {}
        values: list[object] = []
        for generation in generations:
            rowid = None if generation.key in known else self._free_rowid(generation.timestamp, taken)
            values += (rowid, *row_of(generation))
        self._db.conn.execute(_UPSERT.format(", ".join([_ONE_ROW] * len(generations))), values)

    def _free_rowid(self, timestamp: str, taken: dict[int, int]) -> int:
        """The first free rowid of that second; of a later one, where thousands share a second.

        `taken` holds, for the seconds of this batch, the last rowid that is in use.
        """
        first = first_slot(timestamp)
        while True:
            last = taken.get(first)
            if last is None:
                sql = "SELECT max(rowid) FROM generations WHERE rowid >= ? AND rowid < ?"
                last = self._db.conn.execute(sql, (first, first + SLOTS)).fetchone()[0]
                last = first - 1 if last is None else int(last)
            taken[first] = min(last + 1, first + SLOTS - 1)
            if last + 1 < first + SLOTS:
                return last + 1
            first += SLOTS

    def _replace_loras(self, generations: Sequence[Generation]) -> None:
        many = self._db.conn.executemany
        many("DELETE FROM generation_loras WHERE generation_key = ?", [(each.key,) for each in generations])
        rows = [row for generation in generations for row in lora_rows(generation)]
        names = [lora.name for generation in generations for lora in generation.loras]
        many(
            "INSERT OR IGNORE INTO loras (id, name) VALUES (?, ?)",
            [(row[1], n) for row, n in zip(rows, names, strict=True)],
        )
        many("INSERT INTO generation_loras VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _drop_unused_loras(self) -> None:
        used = "SELECT 1 FROM generation_loras WHERE lora_id = loras.id"
        self._db.conn.execute(f"DELETE FROM loras WHERE NOT EXISTS ({used})")

    def delete(self, keys: Iterable[str]) -> int:
        """Forget outputs by their keys, also those whose sidecar could not be read. Gives how many rows went."""
        gone = 0
        with translated(self.path), transaction(self._db):
            for key in keys:
                gone += self._db.conn.execute("DELETE FROM generations WHERE key = ?", (key,)).rowcount
                self._db.conn.execute("DELETE FROM problems WHERE key = ?", (key + SIDECAR_SUFFIX,))
            if gone:
                self._drop_unused_loras()
        return gone

    def record_problem(self, key: str, reason: str, etag: str = "") -> None:
        """Write down why the sidecar `key` cannot be read. A row it had goes: a rebuilt index would not have it."""
        with translated(self.path), transaction(self._db):
            self._db.conn.execute("DELETE FROM generations WHERE sidecar_key = ?", (key,))
            self._drop_unused_loras()
            sql = "INSERT INTO problems (key, reason, etag) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
            self._db.conn.execute(sql + "reason = excluded.reason, etag = excluded.etag", (key, reason, etag))

    def clear_problem(self, key: str) -> None:
        """The sidecar `key` can be read, or is gone."""
        with translated(self.path), transaction(self._db):
            self._db.conn.execute("DELETE FROM problems WHERE key = ?", (key,))

    def record_source(self, source: Source) -> None:
        """Write down what a complete listing of a store held."""
        sql = "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?)"
        with translated(self.path), transaction(self._db):
            self._db.conn.execute(sql, astuple(source))

    # -- reading --------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Generation | None:
        """The generation of an output."""
        with translated(self.path):
            return self._rows([key]).get(key)

    def etags(self, start_after: str = "", limit: int = 1000) -> list[Known]:
        """The next page of all known sidecars after `start_after`, by the bytes of their keys, as stores list them."""
        with translated(self.path):
            rows = self._db.conn.execute(_KNOWN, {"after": start_after, "limit": limit}).fetchall()
        return [Known(key, sidecar, etag, bool(problem)) for key, sidecar, etag, problem in rows]

    def problems(self, limit: int = 1000) -> list[Problem]:
        """Sidecars that cannot be read, by key."""
        with translated(self.path):
            rows = self._db.conn.execute(
                "SELECT key, reason, etag FROM problems ORDER BY key LIMIT ?", (limit,)
            ).fetchall()
        return [Problem(key=key, reason=reason, etag=etag) for key, reason, etag in rows]

    def sources(self) -> list[Source]:
        """The stores, by id."""
        with translated(self.path):
            rows = self._db.conn.execute("SELECT * FROM sources ORDER BY id").fetchall()
        return [Source(id=a, reconciled_at=b, objects=c, generations=d, problems=e) for a, b, c, d, e in rows]

    def count(self) -> int:
        """How many generations there are."""
        with translated(self.path):
            return int(self._db.conn.execute("SELECT count(*) FROM generations").fetchone()[0])

    def search(self, text: str, limit: int = LIMIT) -> list[Generation]:
        """The newest generations with all these words, in any form, in prompt, tags or project."""
        return self._asked(PROMPT_WORDS, {"words": text}, limit)

    def contains(self, text: str, limit: int = LIMIT) -> list[Generation]:
        """The newest generations whose prompt contains a text."""
        return self._asked(PROMPT_CONTAINS, {"text": text}, limit)

    def _asked(self, query: Query, parameters: dict[str, object], limit: int) -> list[Generation]:
        with translated(self.path):
            keys = [row[0] for row in self._db.conn.execute(query.sql, parameters).fetchmany(limit)]
            rows = self._rows(keys)
        return [rows[key] for key in keys]

    def verify(self) -> list[str]:
        """What is wrong with the file, down to every word of the full-text tables; empty when all is well. Slow."""
        with translated(self.path):
            found = [row[0] for row in self._db.conn.execute("PRAGMA integrity_check") if row[0] != "ok"]
            for text in FULL_TEXTS:
                try:
                    check = f"INSERT INTO {text.name} ({text.name}, rank) VALUES ('integrity-check', 1)"
                    self._db.execute(check)
                except sqlite3.DatabaseError as exc:
                    found.append(f"{text.name}: {exc}")
        return found

    def _rows(self, keys: Sequence[str]) -> dict[str, Generation]:
        """The generations of some keys, at most a few hundred at once."""
        marks = ", ".join("?" * len(keys))
        loras: dict[str, list[Row]] = {}
        for key, *lora in self._db.conn.execute(_LORAS.format(marks), keys):
            loras.setdefault(key, []).append(tuple(lora))
        rows = self._db.conn.execute(f"SELECT {_NAMES} FROM generations WHERE key IN ({marks})", keys)
        found = (dict(zip(COLUMNS, row, strict=True)) for row in rows)
        return {row["key"]: generation_of(row, loras.get(row["key"], ())) for row in found}


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    walk = iter(items)
    while chunk := list(islice(walk, size)):
        yield chunk
