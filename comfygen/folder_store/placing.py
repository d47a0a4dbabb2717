"""Placing: a finished file takes its name in one step, so that nobody ever sees half an object."""

from __future__ import annotations

import errno
import os

NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def place_new(source: str, target: str, *, source_folder: int | None = None, target_folder: int | None = None) -> None:
    """Give the file its name unless something has it already: FileExistsError. The source is gone afterwards."""
    try:
        os.link(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in NO_LINKS:
            raise
        claim_and_place(source, target, source_folder=source_folder, target_folder=target_folder)
    else:
        os.unlink(source, dir_fd=source_folder)


def claim_and_place(
    source: str, target: str, *, source_folder: int | None = None, target_folder: int | None = None
) -> None:
    """The same where the file system knows no hard links: an empty file claims the name for an instant."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, dir_fd=target_folder))
    os.rename(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder)
