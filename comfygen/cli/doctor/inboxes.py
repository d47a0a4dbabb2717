"""Inboxes: can requests be noticed, judged complete, and moved?"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from comfygen.cli.doctor.disks import writable
from comfygen.cli.doctor.finding import Finding, bad, warn, well
from comfygen.cli.doctor.site import Site
from comfygen.mounts import is_other_mount

SUFFIXES = {".yaml", ".yml", ".json"}
PLACES = ("work", "done", "failed")
LIMITS = "sysctl -w fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288"


def inboxes(site: Site) -> Iterator[Finding]:
    """Every folder that requests are dropped into."""
    for folder in site.folders():
        yield from _inbox(folder)
    if any(site.folders()):
        yield _watches()


def _inbox(folder: Path) -> Iterator[Finding]:
    check = f"inbox {folder}"
    rights = list(writable(check, folder))
    yield from rights
    if rights[-1].remedy or not folder.is_dir():
        return
    for place in (folder / name for name in PLACES):
        if place.exists():
            yield from (finding for finding in writable(check, place) if finding.remedy)
            yield from _same_disk(check, folder, place)
    yield from _unreadable(check, folder)
    yield _leases(check, folder)


def _same_disk(check: str, folder: Path, place: Path) -> Iterator[Finding]:
    if is_other_mount(folder, place):
        remedy = "Let work/, done/ and failed/ be plain folders inside the inbox: requests are renamed into them."
        yield bad(check, f"{place} lies on another file system than the inbox.", remedy)


def _unreadable(check: str, folder: Path) -> Iterator[Finding]:
    requests = (path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES and path.is_file())
    stuck = [path.name for path in requests if not os.access(path, os.R_OK, effective_ids=True)]
    if stuck:
        remedy = "Give the service's user the right to read them (`chmod a+r`)."
        yield bad(check, f"{len(stuck)} files cannot be read: {', '.join(stuck[:5])}.", remedy)


def _leases(check: str, folder: Path) -> Finding:
    """Whether the file system tells who still writes into a file: tried with a hidden file of our own."""
    probe = folder / f".comfygen-doctor-{os.getpid()}"
    handle = os.open(probe, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as exc:
        remedy = "Write requests elsewhere and move them in: a slow writer may otherwise be cut off."
        return warn(check, f"Its file system does not tell when a file is complete ({exc.strerror}).", remedy)
    else:
        return well(f"{check} completeness", "its file system tells when a file is complete")
    finally:
        os.close(handle)
        probe.unlink()


def _watches() -> Finding:
    """Whether this user can have one more watcher."""
    library = ctypes.CDLL(None, use_errno=True)
    handle = library.inotify_init1(os.O_CLOEXEC)
    if handle < 0:
        reason = errno.errorcode.get(ctypes.get_errno(), "?")
        message = f"Folders cannot be watched ({reason}): they are listed now and then instead, which is slower."
        return warn("inotify", message, f"End other watchers of this user, or raise the limits: {LIMITS}.")
    os.close(handle)
    return well("inotify", "folders can be watched")
