"""Root: the store's folder itself, and proof at each use that it still is the one it was at the start.

A mark in it (`.comfygen/store`) tells a folder from the empty mount point that stands in its place while its disk is
away: without it, an unmounted disk would look like a store whose every object was deleted.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from comfygen.errors import NoSuchBucket, StoreUnavailable
from comfygen.folder_store.faults import mapped
from comfygen.folder_store.placing import place_new

OWN_FOLDER = ".comfygen"
MARK = f"{OWN_FOLDER}/store"
TEMPORARY = (OWN_FOLDER, "tmp")
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
STALE_SECONDS = 24 * 3600.0


class Root:
    """The folder of a store. Blocking; may be used from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = b""
        self._mark: tuple[int, int, int] = (0, 0, 0)

    def start(self) -> None:
        """Make the folder if need be, mark it, and sweep what a crash left of half-written objects."""
        with mapped(f"The folder {self.path} cannot be opened as a store"):
            self.path.mkdir(parents=True, exist_ok=True)
            mark = self.path / MARK
            if not mark.exists():
                self._write_mark(mark)
            self._token = mark.read_bytes()
            self._sweep()

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the folder. NoSuchBucket if it is gone, StoreUnavailable if it is another than at start."""
        try:
            root = os.open(self.path, FOLDER)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise NoSuchBucket(f"The folder {self.path} is gone.", hint="Put it back, or mount its disk.") from exc
        try:
            self._check_mark(root)
            yield root
        finally:
            os.close(root)

    @contextmanager
    def folder(self, root: int, parts: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder below. No link is followed: FileNotFoundError or NotADirectoryError instead."""
        with ExitStack() as stack:
            place = root
            for part in parts:
                place = _step(place, part, create=create)
                stack.callback(os.close, place)
            yield place

    def identity(self) -> tuple[int, int]:
        """What changes when another folder takes the path; raises as `opened` does."""
        with mapped(f"The folder {self.path} cannot be looked at"), self.opened() as root:
            found = os.fstat(root)
        return found.st_dev, found.st_ino

    def _check_mark(self, root: int) -> None:
        try:
            found = os.stat(MARK, dir_fd=root, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise self._other() from exc
        mark = (found.st_dev, found.st_ino, found.st_mtime_ns)
        if mark != self._mark:  # a disk that was away and came back has other numbers, but the same mark
            if _read(MARK, root) != self._token:
                raise self._other()
            self._mark = mark

    def _other(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.path} is not the folder that it was at the start: its mark {MARK} is missing or another.",
            hint="Mount its disk. If it was emptied on purpose, start again.",
        )

    def _write_mark(self, mark: Path) -> None:
        """Two may start at once: the first one's mark counts."""
        mark.parent.mkdir(exist_ok=True)
        draft = mark.with_name(f"store-{secrets.token_hex(6)}")
        draft.write_bytes(secrets.token_hex(16).encode() + b"\n")
        with suppress(FileExistsError):
            place_new(str(draft), str(mark))
        draft.unlink(missing_ok=True)

    def _sweep(self) -> None:
        oldest = time.time() - STALE_SECONDS
        for left in self.path.joinpath(*TEMPORARY).glob("*"):
            if left.lstat().st_mtime < oldest:
                left.unlink(missing_ok=True)


def _step(place: int, part: str, *, create: bool) -> int:
    try:
        return os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=place)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(part, dir_fd=place)
        os.fsync(place)
    except FileExistsError:
        pass  # another writer made it meanwhile
    return os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=place)


def _read(name: str, place: int) -> bytes:
    mark = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    try:
        return os.read(mark, 256)
    finally:
        os.close(mark)
