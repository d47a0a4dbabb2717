"""Looking: what a batch of file events means. Events only name paths; a look at each path tells what is there now."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from comfygen.folder_store.faults import mapped
from comfygen.folder_store.keys import is_hidden, is_object, is_possible
from comfygen.folder_store.listing import Listing
from comfygen.folder_store.root import Root
from comfygen.store import Change, Hint

RECONCILE = Hint(change=Change.RECONCILE)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a batch comes to: hints to pass on, and folders that are new."""

    hints: tuple[Hint, ...]
    new_folders: tuple[str, ...]


def look(root: Root, prefix: str, *, paths: Iterable[str], added: Set[str], removed: Set[str]) -> Seen:
    """Hints for every path below `prefix`; what lies in a folder that came into being (or was moved in) is named too.

    A folder that goes away takes its objects along without naming them, and a path that is gone does not say what it
    was: one without a suffix is taken for a folder, and everything is to be listed.
    """
    hints: list[Hint] = []
    new: list[str] = []
    with mapped(f"The folder {root.path} cannot be looked at"):
        for path in paths:
            key = path.removeprefix(f"{root.path}/")
            if is_hidden(key) or not is_possible(key) or not _concerns(key, prefix):
                continue
            found = _facts(root, key)
            if found is not None and stat.S_ISDIR(found.st_mode):
                if path in added:
                    new.append(key)
                continue
            if key.startswith(prefix):
                here = found is not None and is_object(found)
                hints.append(Hint(change=Change.WRITTEN if here else Change.REMOVED, key=key))
            if found is None and path in removed and not PurePosixPath(key).suffix:
                hints.append(RECONCILE)
    hints += contents(root, prefix, new)
    return Seen(hints=tuple(hints), new_folders=tuple(new))


def contents(root: Root, prefix: str, folders: Iterable[str]) -> Iterator[Hint]:
    """A hint for every object in the folders."""
    for folder in folders:
        wanted = max(f"{folder}/", prefix, key=len)
        for each in Listing(root, wanted, "").objects():
            yield Hint(change=Change.WRITTEN, key=each.key)


def _concerns(key: str, prefix: str) -> bool:
    return key.startswith(prefix) or prefix.startswith(f"{key}/")


def _facts(root: Root, key: str) -> os.stat_result | None:
    *folders, name = key.split("/")
    with (
        suppress(FileNotFoundError, NotADirectoryError),
        root.opened() as top,
        root.folder(top, tuple(folders)) as place,
    ):
        return os.stat(name, dir_fd=place, follow_symlinks=False)
    return None
