"""Backup: a whole, checked copy of a SQLite database that may be in use meanwhile."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from comfygen.errors import ComfyGenError

BUSY_SECONDS = 60.0
PART = ".part"


class BackupFailed(ComfyGenError):
    """The database could not be copied."""

    code = "backup_failed"


def back_up(source: Path, target: Path) -> int:
    """Copy a database into one file, which is there whole and durable or not at all; gives its size in bytes.

    The source is only read, so whoever writes into it goes on meanwhile. An older `target` is replaced. Raises
    BackupFailed.
    """
    if not source.is_file():
        raise BackupFailed(f"There is no {source} to copy.", hint="Is state_dir the one that the service uses?")
    part = target.with_name(f".{target.name}{PART}")
    with _explained(source, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        try:
            _copy(source, part)
            _check(part)
            _sync(part)
            size = part.stat().st_size
            part.replace(target)
            _sync(target.parent)
        finally:
            part.unlink(missing_ok=True)
    return size


def _copy(source: Path, part: Path) -> None:
    address = f"{source.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
        connection.execute("VACUUM INTO ?", [str(part.absolute())])


def _check(copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise BackupFailed(f"The copy is damaged: {verdict}.", hint="Run `comfygen doctor`: is the original well?")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _explained(source: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        hint = "Run `comfygen doctor`. Is there space where the backup goes, and may this user write there?"
        raise BackupFailed(f"{source} could not be copied to {target}: {exc}.", hint=hint) from exc
    except OSError as exc:
        hint = "Is there space, and may this user write there?"
        raise BackupFailed(f"{target} could not be written: {exc.strerror}.", hint=hint) from exc
