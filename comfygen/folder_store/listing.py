"""Listing: every object of a folder in the byte order of its key, one folder's names in memory at a time.

Code point order of text is the byte order of its UTF-8. A subfolder sorts as its name with the slash behind it, so that
`a-b` comes before `a/c`, as it does in a bucket.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice

from comfygen.folder_store.faults import mapped
from comfygen.folder_store.keys import is_hidden, is_object, is_possible, stored
from comfygen.folder_store.root import Root
from comfygen.store import Stored

log = logging.getLogger(__name__)
STEP = 500  # files looked at before the folder is let go again


class Listing:
    """One walk through the folder; raises in the middle rather than leave something out."""

    def __init__(self, root: Root, prefix: str, start_after: str) -> None:
        self._root = root
        self._prefix = prefix
        self._after = start_after
        self._left_out = 0

    def objects(self) -> Iterator[Stored]:
        """The objects, lazily. No descriptor stays open between two of them."""
        base, slash, _ = self._prefix.rpartition("/")
        with mapped(f"The folder {self._root.path} cannot be listed"):
            self._root.identity()
            if not base or (is_possible(base) and not is_hidden(base)):
                yield from self._below(base + slash)
            self._root.identity()  # a folder that went away under our hands looked empty
        if self._left_out:
            log.warning("Left out %d files whose names cannot be keys.", self._left_out)

    def _below(self, folder: str) -> Iterator[Stored]:
        for name, facts in self._entries(folder):
            if facts is None:
                yield from self._below(f"{folder}{name}")
            elif is_object(facts):
                yield stored(folder + name, facts)

    def _entries(self, folder: str) -> Iterator[tuple[str, os.stat_result | None]]:
        """Files with their facts and subfolders without, in order. A folder that is removed meanwhile has no more."""
        with suppress(FileNotFoundError, NotADirectoryError):
            names = iter(self._names(folder))
            while chunk := list(islice(names, STEP)):
                yield from self._looked_at(folder, chunk)

    def _names(self, folder: str) -> list[str]:
        """The names in a folder that may lead to wanted keys, subfolders with a slash behind, in order."""
        names: list[str] = []
        with self._opened(folder) as place, os.scandir(place) as entries:
            for entry in entries:
                name = f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
                if self._is_wanted(folder + name):
                    names.append(name)
        return sorted(names)

    def _is_wanted(self, key: str) -> bool:
        if is_hidden(key):
            return False
        if not is_possible(key.removesuffix("/")):
            self._left_out += 1
            return False
        if key.endswith("/"):
            return self._may_hold_wanted(key)
        return key.startswith(self._prefix) and key > self._after

    def _may_hold_wanted(self, folder: str) -> bool:
        on_the_way = folder.startswith(self._prefix) or self._prefix.startswith(folder)
        return on_the_way and (folder > self._after or self._after.startswith(folder))

    def _looked_at(self, folder: str, names: list[str]) -> list[tuple[str, os.stat_result | None]]:
        found: list[tuple[str, os.stat_result | None]] = []
        with self._opened(folder) as place:
            for name in names:
                with suppress(FileNotFoundError):
                    is_folder = name.endswith("/")
                    found.append((name, None if is_folder else os.stat(name, dir_fd=place, follow_symlinks=False)))
        return found

    @contextmanager
    def _opened(self, folder: str) -> Iterator[int]:
        parts = tuple(part for part in folder.split("/") if part)
        with self._root.opened() as top, self._root.folder(top, parts) as place:
            yield place
