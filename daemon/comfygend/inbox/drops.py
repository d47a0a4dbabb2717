"""Looking at what was dropped, without ever following, blocking on, or believing it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import stat
from dataclasses import dataclass
from pathlib import Path

from comfygen.errors import InboxError
from comfygend.inbox.names import fitted
from comfygend.inbox.stability import Look, Writers

MAX_REQUEST_BYTES = 256 * 1024
F_SETSIG = getattr(fcntl, "F_SETSIG", 10)
KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


class DropUnreadable(InboxError):
    """A dropped file may not be read by this user."""

    code = "inbox_unreadable"


class DropRefused(InboxError):
    """What was dropped can never be a request."""

    code = "inbox_refused"


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A dropped file: how it looked when it was opened, who else has it open, and its bytes."""

    look: Look
    writers: Writers
    body: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def look_at(path: Path, *, now: float) -> tuple[Look, os.stat_result]:
    """What a name in the inbox is, without following it. Raises FileNotFoundError."""
    status = path.lstat()
    return _look(status, now), status


def _look(status: os.stat_result, now: float) -> Look:
    return Look(device=status.st_dev, inode=status.st_ino, size=status.st_size, mtime_ns=status.st_mtime_ns, at=now)


def refusal(status: os.stat_result) -> DropRefused | None:
    """Why this can never be a request, whatever is in it."""
    kind = next((name for test, name in KINDS if test(status.st_mode)), None)
    if kind is not None:
        return DropRefused(f"It is {kind}, not a plain file.", hint="Drop a copy of the request file itself.")
    if status.st_nlink > 1:
        return DropRefused(
            "It is a hard link: the same file has another name elsewhere.", hint="Drop a copy (cp, not ln)."
        )
    if status.st_size > MAX_REQUEST_BYTES:
        return DropRefused(
            f"It has {status.st_size:,} bytes; a request has at most {MAX_REQUEST_BYTES:,}.",
            hint="Name images with `input_image`, and split long lists of requests into several files.",
        )
    return None


def read_drop(path: Path, *, now: float) -> Drop:
    """Open, judge and read a plain file once.

    Raises FileNotFoundError when it is gone, DropUnreadable, and DropRefused when it turned into something else.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise DropRefused("It is a symbolic link, not a plain file.") from exc
        raise DropUnreadable(
            f"{path.name} cannot be read: {exc.strerror}.", hint="Give the service's user the right to read it."
        ) from exc
    try:
        status = os.fstat(handle)
        if (reason := refusal(status)) is not None:
            raise reason
        writers = _writers(handle)
        body = _read_all(handle)
        return Drop(look=_look(status, now), writers=writers, body=body)
    finally:
        os.close(handle)


def _read_all(handle: int) -> bytes:
    parts: list[bytes] = []
    while part := os.read(handle, MAX_REQUEST_BYTES + 1):
        parts.append(part)
        if sum(map(len, parts)) > MAX_REQUEST_BYTES:
            raise DropRefused(f"It has more than {MAX_REQUEST_BYTES:,} bytes.")
    return b"".join(parts)


def _writers(handle: int) -> Writers:
    """Ask for a read lease and give it back: the kernel refuses it while anybody has the file open for writing."""
    try:
        # A lease that is broken in this instant sends SIGIO, which would end the process; SIGURG is ignored by default.
        fcntl.fcntl(handle, F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as exc:
        return Writers.SOME if exc.errno == errno.EAGAIN else Writers.UNKNOWN
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writers.NONE


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or not at all, whatever happens."""
    part = path.with_name(fitted(".", path.name, ".part"))
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)
