"""Mounts: whether files can be renamed from one folder into another."""

from __future__ import annotations

import errno
import os
from pathlib import Path

NOTHING = ".comfygen-none"


def is_other_mount(folder: Path, place: Path) -> bool:
    """Whether nothing can be renamed from a folder into a place, as they are on different mounts. Nothing is written.

    One file system that is mounted twice has one device number, and is two mounts all the same. So a rename of what is
    not there is tried: the kernel tells of mounts (EXDEV) before it looks for the file.
    """
    try:
        os.rename(folder / NOTHING, place / NOTHING)  # noqa: PTH104
    except OSError as exc:
        return exc.errno == errno.EXDEV
    return False
