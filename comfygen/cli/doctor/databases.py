"""SQLite itself, and the two databases in state_dir: only read, and never in a way that leaves a file behind."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from comfygen.cli.doctor.finding import Finding, bad, warn, well
from comfygen.cli.doctor.site import Site
from comfygen.index.schema import APPLICATION_ID, SCHEMA_VERSION

LEDGER_ID, LEDGER_VERSION = 0x43474C31, 1  # what the service writes into queue.db
RECENT = timedelta(days=7)
RESTORE = (
    "Stop the service, move queue.db (and -wal, -shm) aside, and put the newest good file of backups/ in its place "
    "(docs/operations.md). Outputs that are in the store are safe."
)
NEWER = "Install the ComfyGen that wrote it, or restore a backup made by this one."
REBUILD = "Nothing is lost: restart the service, or run `comfygen reindex` while it is stopped."


def has_wal_bug(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite can damage a database in WAL mode that two connections write into at the same time."""
    mended = version[:2] == (3, 44) and version >= (3, 44, 6), version[:2] == (3, 50) and version >= (3, 50, 7)
    return (3, 7, 0) <= version < (3, 51, 3) and not any(mended)


def sqlite(site: Site) -> Iterator[Finding]:
    """The version of the library, and its known fault."""
    if has_wal_bug(sqlite3.sqlite_version_info):
        message = f"{sqlite3.sqlite_version} can damage a database that two programs write into (mended in 3.51.3)."
        remedy = "Let nothing but the service write into queue.db and index.db; use a newer SQLite when you can."
        yield warn("sqlite", message, remedy)
    else:
        yield well("sqlite", sqlite3.sqlite_version)


def ledger(site: Site) -> Iterator[Finding]:
    """queue.db: sound, ours, not newer; and what it says about requests and the spool."""
    path = site.config.queue_db
    if not path.exists():
        yield well("ledger", f"there is no {path} yet; the service makes it")
        return
    finding = _judged("ledger", path, LEDGER_ID, LEDGER_VERSION, RESTORE, NEWER)
    yield finding
    if not finding.remedy:
        with _reading(path) as connection:
            yield from _requests(connection)
            yield _spool(connection, site.config.limits.spool_bytes)


def index(site: Site) -> Iterator[Finding]:
    """index.db: sound, ours, not newer."""
    path = site.config.index_db
    if path.exists():
        yield _judged("index", path, APPLICATION_ID, SCHEMA_VERSION, REBUILD, f"{NEWER} Or delete it. {REBUILD}")
    else:
        yield well("index", f"there is no {path} yet; the service makes it from the store")


def _judged(check: str, path: Path, owner: int, version: int, damaged: str, newer: str) -> Finding:
    try:
        with _reading(path) as connection:
            verdict, found, schema = (
                connection.execute(f"PRAGMA {pragma}").fetchone()[0]
                for pragma in ("quick_check(1)", "application_id", "user_version")
            )
    except sqlite3.OperationalError as exc:
        return bad(check, f"{path} cannot be opened: {exc}.", "Run the doctor as the service's user.")
    except sqlite3.DatabaseError as exc:
        return bad(check, f"{path} is damaged: {exc}.", damaged)
    if verdict != "ok":
        return bad(check, f"{path} is damaged: {verdict}.", damaged)
    if found not in (0, owner):
        return bad(check, f"{path} is a database of another program.", "Choose another state_dir.")
    if schema > version:
        return bad(check, f"{path} was written by a newer ComfyGen (schema {schema} > {version}).", newer)
    return well(check, f"{path} is sound ({path.stat().st_size:,} bytes)")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Without a log beside it nobody has it open, and it can be read without making one."""
    closed = not path.with_name(f"{path.name}-wal").exists()
    address = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if closed else ''}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
        yield connection


def _requests(connection: sqlite3.Connection) -> Iterator[Finding]:
    since = (datetime.now(UTC) - RECENT).isoformat(timespec="microseconds")
    failed, waiting = (
        connection.execute(f"SELECT count(*) FROM requests WHERE {condition}", values).fetchone()[0]
        for condition, values in (
            ("state = 'failed' AND ended_at >= ?", [since]),
            ("state IN ('received', 'accepted')", []),
        )
    )
    if failed:
        remedy = "Look at the .error.json files in failed/; mend a request, move it back into the inbox, and it runs."
        yield warn("requests", f"{failed} failed in the last {RECENT.days} days, {waiting} are open.", remedy)
    else:
        yield well("requests", f"none failed in the last {RECENT.days} days, {waiting} are open")


def _spool(connection: sqlite3.Connection, limit: int) -> Finding:
    jobs, size = connection.execute(
        "SELECT count(DISTINCT j.id), coalesce(sum(o.bytes), 0) FROM jobs j JOIN outputs o ON o.job_id = j.id "
        "WHERE j.state = 'generated'"
    ).fetchone()
    told = f"outputs of {jobs} jobs ({size:,} bytes) wait for the store"
    if size >= limit:
        remedy = "Bring the store back: generation pauses until it takes outputs. Or raise limits.spool_bytes."
        return bad("spool", f"{told}, more than limits.spool_bytes ({limit:,}).", remedy)
    return well("spool", told)
