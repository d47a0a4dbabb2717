"""Folders: are they there, may they be written to, is there space, and on what kind of file system are they?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from comfygen.cli.doctor.finding import Finding, bad, warn, well
from comfygen.cli.doctor.site import Site

MIB = 2**20
SCARCE_BYTES = 256 * MIB
NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "fuse.sshfs", "fuse.rclone", "ncpfs")
MOUNTS = Path("/proc/self/mountinfo")


def state_dir(site: Site) -> Iterator[Finding]:
    """Where the databases and the spool live."""
    folder = site.config.state_dir
    yield from writable("state_dir", folder)
    kind = file_system(existing(folder), MOUNTS.read_text(encoding="utf-8") if MOUNTS.exists() else "")
    if is_network(kind):
        remedy = "Move state_dir to a local disk: SQLite's locks do not work over a network."
        yield bad("state_dir file system", f"{folder} is on {kind}, a network file system.", remedy)
    else:
        yield well("state_dir file system", kind or "unknown")
    yield from space("state_dir space", folder, wanted=site.config.limits.spool_bytes)
    yield from _owner(folder)


def secrets(site: Site) -> Iterator[Finding]:
    """Whether others can read the keys in the configuration file."""
    if site.file is None or site.config.store.secret_key is None:
        return
    if site.file.stat().st_mode & 0o004 and b"secret_key" in site.file.read_bytes():
        remedy = f"chmod 640 {site.file}, or keep it out of the file (systemd's LoadCredential, docs/operations.md)."
        yield warn("secrets", f"Everybody can read the secret key in {site.file}.", remedy)
    else:
        yield well("secrets", "the secret key is not for everybody to read")


def writable(check: str, folder: Path) -> Iterator[Finding]:
    """Whether this user can write into a folder, or make it."""
    there = existing(folder)
    if folder.exists() and not folder.is_dir():
        yield bad(check, f"{folder} is no folder.", "Move that file away, or choose another place.")
    elif not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        remedy = f"Make it writable for the service's user (`chown`, or mount it read-write): {there}."
        yield bad(check, f"{folder} cannot be written to by user {os.geteuid()}.", remedy)
    else:
        yield well(check, f"{folder}" if folder.exists() else f"{folder} is made at the start")


def space(
    check: str, folder: Path, *, wanted: int = 0, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
) -> Iterator[Finding]:
    """Whether there is space; `wanted` is how much may be needed at worst."""
    _, _, free = usage(existing(folder))
    told = f"{free // MIB:,} MiB are free for {folder}"
    if free < SCARCE_BYTES:
        yield bad(check, f"Only {told}.", "Free some space: on a full disk everything stands still until there is.")
    elif free < wanted:
        remedy = "Lower limits.spool_bytes, or free some space: outputs wait there while the store is away."
        yield warn(check, f"{told}, and the spool may grow to {wanted // MIB:,} MiB (limits.spool_bytes).", remedy)
    else:
        yield well(check, told)


def file_system(folder: Path, mounts: str) -> str:
    """The kind of file system that a folder is on, by `/proc/self/mountinfo`; empty if it does not say."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place = before.split(" ")[4].replace("\\040", " ")
        if folder.is_relative_to(place) and len(place) >= best:
            best, kind = len(place), after.split(" ")[0]
    return kind


def is_network(kind: str) -> bool:
    """Whether a kind of file system is a network's."""
    return kind.startswith(NETWORK)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())


def _owner(folder: Path) -> Iterator[Finding]:
    if os.geteuid() == 0 and folder.exists() and folder.stat().st_uid != 0:
        message = (
            f"The doctor runs as root, and {folder} belongs to user {folder.stat().st_uid}: root may do everything."
        )
        yield warn("user", message, "Run it as the service's user to learn about missing rights (`sudo -u`).")
