"""Opening index.db: pragmas, whose file it is, migrations, and whether the full-text tables are still true."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from comfygen.errors import HistoryError
from comfygen.index.fulltext import FULL_TEXTS, build, is_true
from comfygen.index.queries import escape_fts
from comfygen.index.schema import APPLICATION_ID, SCHEMA_VERSION, migrations

# No trusted_schema = OFF: with it SQLite 3.40 refuses FTS5 in triggers ("unsafe use of virtual table").
PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA busy_timeout = 5000",
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 1000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA temp_store = MEMORY",
)
# A lock, a full disk, a read-only one: it passes.
AWAY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
AWAY_TOO: Final = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
BROKEN: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
REBUILT: Final = "Nothing is lost: it is rebuilt from the store."
CHILDREN_FIRST: Final = ("generation_loras", "loras", "generations", "problems", "sources", migrations.migrations_table)


class IndexCorrupt(HistoryError):
    """The index is damaged. It is derived from the store: `Index.recreate` and a reconcile bring it back."""

    code = "index_corrupt"


class IndexBusy(HistoryError):
    """The index cannot be written for now: somebody else writes into it, or its disk is full or read-only."""

    code = "index_busy"
    retryable = True


class IndexNewer(HistoryError):
    """The index was written by a newer ComfyGen."""

    code = "index_newer"


def _is_away(exc: sqlite3.Error) -> bool:
    return _kind(exc) in AWAY or getattr(exc, "sqlite_errorcode", 0) in AWAY_TOO


def _kind(exc: sqlite3.Error) -> int:
    return int(getattr(exc, "sqlite_errorcode", 0)) & 0xFF


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into HistoryError, damage into IndexCorrupt, what passes into IndexBusy."""
    try:
        yield
    except sqlite3.Error as exc:
        if _kind(exc) in BROKEN:
            raise IndexCorrupt(f"{path} is damaged: {exc}.", hint=REBUILT) from exc
        if _is_away(exc):
            raise IndexBusy(f"{path} cannot be written now: {exc}.") from exc
        raise HistoryError(f"{path} cannot be used: {exc}.") from exc


@contextlib.contextmanager
def transaction(db: Database) -> Iterator[None]:
    """All or nothing. It takes the write lock at once: one that begins by reading could not always get it later."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.conn.execute("COMMIT")
    finally:
        db.rollback()  # which does nothing after the commit


def open_index(path: Path) -> Database:
    """The database of the index, migrated and searchable. Raises HistoryError, IndexCorrupt, IndexNewer."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise HistoryError(f"{path.parent} cannot be made: {exc.strerror}.") from exc
    with translated(path), contextlib.ExitStack() as failed:
        connection = sqlite3.connect(path, timeout=5)
        failed.callback(connection.close)
        db = _prepared(connection, path)
        failed.pop_all()
    return db


def _prepared(connection: sqlite3.Connection, path: Path) -> Database:
    for pragma in PRAGMAS:
        connection.execute(pragma)
    _check_owner(connection, path)
    if (verdict := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise IndexCorrupt(f"{path} is damaged: {verdict}.", hint=REBUILT)
    connection.create_function("escape_fts", 1, escape_fts, deterministic=True)
    db = Database(connection)
    if _version(connection) < SCHEMA_VERSION or not all(is_true(db, text) for text in FULL_TEXTS):
        with transaction(db):
            _migrate(db)
    return db


def _migrate(db: Database) -> None:
    """Bring tables and full-text tables up to date. Inside the caller's transaction."""
    if _version(db.conn) < SCHEMA_VERSION:
        migrations.apply(db)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    for text in FULL_TEXTS:
        if not is_true(db, text):
            build(db, text)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    """Refuses a file of another program, and one of a newer ComfyGen."""
    owner, version, tables = (
        connection.execute(sql).fetchone()[0]
        for sql in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if owner != APPLICATION_ID and (owner or tables):
        raise HistoryError(f"{path} is a database of another program.", hint="Choose another state_dir.")
    if version > SCHEMA_VERSION:
        hint = "Install that version again, or delete index.db: it is rebuilt from the store."
        raise IndexNewer(f"{path} was written by a newer ComfyGen (schema {version} > {SCHEMA_VERSION}).", hint=hint)


def reset(db: Database) -> None:
    """Drop everything and start empty, in one transaction and in the same file: readers never see half of it."""
    with transaction(db):
        for table in (*(text.name for text in FULL_TEXTS), *CHILDREN_FIRST):
            db.execute(f"DROP TABLE IF EXISTS {table}")
        db.execute("PRAGMA user_version = 0")
        _migrate(db)


def overwrite(path: Path) -> None:
    """An empty database in place of a damaged one: in the same file, where open readers see it, or else beside it.

    A file that is no database any more cannot be written through SQLite. It is renamed to `index.db.broken`, and
    whoever has it open (Datasette) has to be restarted.
    """
    try:
        with contextlib.closing(sqlite3.connect(":memory:")) as empty, contextlib.closing(sqlite3.connect(path)) as db:
            empty.backup(db)
    except sqlite3.DatabaseError as exc:
        if _kind(exc) not in BROKEN:
            raise
        path.replace(path.with_name(f"{path.name}.broken"))
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
