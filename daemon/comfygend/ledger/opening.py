"""Opening queue.db: pragmas, checks and migrations, before anybody relies on it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from comfygen.errors import LedgerError
from comfygend.ledger.pages import remedy
from comfygend.ledger.schema import APPLICATION_ID, SCHEMA_VERSION, migrations

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 5000",  # then the caller waits and asks again, so that others may read meanwhile
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA trusted_schema = OFF",
)
CORRUPT_HINT = (
    "It holds accepted requests, so it is not replaced silently. Stop the service, move queue.db (and -wal, -shm) "
    "aside, restore the latest backup of it, or start without: finished outputs are safe in the store."
)


def open_ledger(path: Path) -> Database:
    """The ledger's database, migrated. Raises LedgerError with what to do."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=5)
    except (OSError, sqlite3.Error) as exc:
        raise LedgerError(f"{path} cannot be opened: {exc}.", hint="Is state_dir writable for this user?") from exc
    try:
        return _prepared(connection, path)
    except sqlite3.Error as exc:
        connection.close()
        hint = f"{passing} Then start again." if (passing := remedy(exc)) else CORRUPT_HINT
        raise LedgerError(f"{path} cannot be used: {exc}.", hint=hint) from exc
    except LedgerError:
        connection.close()
        raise


def _prepared(connection: sqlite3.Connection, path: Path) -> Database:
    for pragma in PRAGMAS:
        connection.execute(pragma)
    check = connection.execute("PRAGMA quick_check").fetchone()[0]
    if check != "ok":
        raise LedgerError(f"{path} is damaged: {check}.", hint=CORRUPT_HINT)
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application not in (0, APPLICATION_ID):
        raise LedgerError(f"{path} is a database of another program.", hint="Choose another state_dir.")
    if version > SCHEMA_VERSION:
        hint = "Install that version of ComfyGen again, or restore a backup made by this one."
        raise LedgerError(f"{path} was written by a newer ComfyGen (schema {version} > {SCHEMA_VERSION}).", hint=hint)
    db = Database(connection)
    migrations.apply(db)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return db
