"""Site: the set-up that is looked at, and the process that works there at the moment."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfygen.config import Config, split_address

ANSWER_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """A configuration with the file it is from. `service` is the pid of the running service, None without one."""

    config: Config
    file: Path | None
    service: int | None

    @classmethod
    def of(cls, config: Config, file: Path | None) -> Site:
        """The set-up as it is now."""
        locks = Path("/proc/locks")
        text = locks.read_text(encoding="ascii") if locks.exists() else ""
        return cls(config=config, file=file, service=lock_holder(config.state_dir / "lock", text))

    def folders(self) -> Iterator[Path]:
        """The folders of the inboxes."""
        yield from (place.folder for place in self.config.inbox if place.folder is not None)


def lock_holder(path: Path, locks: str) -> int | None:
    """Who holds a lock on a file, by what `/proc/locks` says. The lock itself is not touched: a service that starts in
    that instant would find it taken. Some file systems (btrfs, overlays) have another device number there; then the
    pid that is written in the file tells."""
    try:
        status, named = path.stat(), path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    rows = (line.split() for line in locks.splitlines())
    locked = [(row[4], row[5]) for row in rows if len(row) > 5 and row[1] == "FLOCK"]
    same_inode = [(pid, where) for pid, where in locked if where.rpartition(":")[2] == str(status.st_ino)]
    return next((int(pid) for pid, where in same_inode if where == place or pid == named), None)


def asked(address: str, path: str) -> tuple[int, dict[str, Any]] | None:
    """Status and JSON of a service's answer, None when nobody answers as it does."""
    host, port = split_address(address)
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
    return (answer.status, told) if isinstance(told, dict) else None
