"""Files: put, get, head and delete on a folder, blocking. Every path is walked by descriptor and follows no link."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

from comfygen.errors import KeyInvalid, NoSuchKey, PreconditionFailed, StoreError, StoreUnavailable
from comfygen.folder_store.faults import mapped
from comfygen.folder_store.keys import folder_key, is_object, stored
from comfygen.folder_store.placing import place_new
from comfygen.folder_store.root import TEMPORARY, Root
from comfygen.store import Stored

ATTEMPTS = 5  # another process may remove an empty folder, or rewrite a file, just as we use it
COPY_BYTES = 1024 * 1024
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A finished file that has no name yet: descriptors of the store, of its folder and of itself."""

    top: int
    folder: int
    name: str
    file: int


def put(root: Root, key: str, body: bytes | Path, *, only_new: bool) -> Stored:
    """Write beside, fsync, rename, fsync the folder: after this returns, a power cut takes nothing away."""
    folder_key(key)
    with mapped(f"{key!r} cannot be stored in {root.path}"), _draft(root, body) as draft:
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):
                return _place(root, draft, key, only_new=only_new)
        raise StoreUnavailable(f"{key!r} cannot be stored: its folder goes away again and again.")


def get(root: Root, key: str, *, max_bytes: int | None) -> tuple[bytes, Stored]:
    """One whole version of the object, never parts of two."""
    folder_key(key)
    with mapped(f"{key!r} cannot be read in {root.path}"), root.opened() as top:
        for _ in range(ATTEMPTS):
            before, content, after = _read(root, top, key, max_bytes)
            if (len(content), before.st_mtime_ns) == (before.st_size, after.st_mtime_ns):
                return content, stored(key, before)
    raise StoreUnavailable(f"{key!r} is being rewritten in place again and again.")


def head(root: Root, key: str) -> Stored:
    """What the object is, without opening it."""
    folder_key(key)
    with mapped(f"{key!r} cannot be looked at in {root.path}"), root.opened() as top, _or_no_such(key):
        *folders, name = key.split("/")
        with root.folder(top, tuple(folders)) as folder:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not is_object(found):
            raise NoSuchKey(f"{key!r} is no object: it is no regular file.")
        return stored(key, found)


def delete(root: Root, key: str) -> None:
    """Remove the object and the folders that it leaves empty."""
    try:
        head(root, key)
    except NoSuchKey:
        return
    with mapped(f"{key!r} cannot be deleted in {root.path}"), root.opened() as top:
        *folders, name = key.split("/")
        with suppress(FileNotFoundError, NotADirectoryError), root.folder(top, tuple(folders)) as folder:
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        _remove_empty(root, top, folders)


def _remove_empty(root: Root, top: int, folders: list[str]) -> None:
    while folders:
        *folders, last = folders
        try:
            with root.folder(top, tuple(folders)) as above:
                os.rmdir(last, dir_fd=above)
        except OSError:
            return  # not empty, a mount point, or gone already: all as it should be


@contextmanager
def _draft(root: Root, body: bytes | Path) -> Iterator[_Draft]:
    """The finished and fsynced file under a name that nobody looks at; removed again if it found no place."""
    name = secrets.token_hex(12)
    with root.opened() as top, root.folder(top, TEMPORARY, create=True) as drafts:
        file = os.open(name, CREATE, 0o666, dir_fd=drafts)
        try:
            with os.fdopen(file, "wb") as target:
                _write(body, target)
                yield _Draft(top=top, folder=drafts, name=name, file=file)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=drafts)


def _write(body: bytes | Path, target: BufferedWriter) -> None:
    if isinstance(body, bytes):
        target.write(body)
    else:
        _copy(body, target)
    target.flush()
    os.utime(
        target.fileno(), ns=(time.time_ns(),) * 2
    )  # the kernel's own stamps are 4 ms coarse; etags want finer ones
    os.fsync(target.fileno())


def _copy(source: Path, target: BufferedWriter) -> None:
    try:
        file = source.open("rb")
    except FileNotFoundError as exc:
        raise StoreError(f"{source} was to be stored, but does not exist.") from exc
    with file:
        shutil.copyfileobj(file, target, COPY_BYTES)


def _place(root: Root, draft: _Draft, key: str, *, only_new: bool) -> Stored:
    *folders, name = key.split("/")
    try:
        with root.folder(draft.top, tuple(folders), create=True) as folder:
            if only_new:
                place_new(draft.name, name, source_folder=draft.folder, target_folder=folder)
            else:
                os.rename(draft.name, name, src_dir_fd=draft.folder, dst_dir_fd=folder)
            os.fsync(folder)
            return stored(key, os.fstat(draft.file))
    except FileExistsError as exc:
        _refuse_folder(root, draft.top, key)
        raise PreconditionFailed(f"{key!r} exists already.") from exc
    except (NotADirectoryError, IsADirectoryError) as exc:
        raise _nested(key) from exc


def _refuse_folder(root: Root, top: int, key: str) -> None:
    *folders, name = key.split("/")
    with root.folder(top, tuple(folders)) as folder:
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _nested(key)


def _nested(key: str) -> KeyInvalid:
    return KeyInvalid(
        f"{key!r} cannot be a key here: it is the folder of other objects, or lies below an object or a link.",
        hint="Choose another name.",
    )


def _read(root: Root, top: int, key: str, max_bytes: int | None) -> tuple[os.stat_result, bytes, os.stat_result]:
    *folders, name = key.split("/")
    with _or_no_such(key), root.folder(top, tuple(folders)) as folder, _opened(name, folder) as file:
        before = os.fstat(file)
        if not is_object(before):
            raise NoSuchKey(f"{key!r} is no object: it is no regular file.")
        if max_bytes is not None and before.st_size > max_bytes:
            raise StoreError(f"{key!r} has {before.st_size:,} bytes, at most {max_bytes:,} are read.")
        with os.fdopen(file, "rb", closefd=False) as content:
            return before, content.read(before.st_size + 1), os.fstat(file)


@contextmanager
def _opened(name: str, folder: int) -> Iterator[int]:
    file = os.open(name, READ, dir_fd=folder)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _or_no_such(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno not in ABSENT:
            raise
        raise NoSuchKey(f"{key!r} does not exist.") from exc
