"""One service per state directory: a lock that the kernel drops when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from comfygen.errors import ConfigInvalid, LedgerError


@contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """Hold the lock of a state directory. Raises LedgerError naming the process that has it."""
    path = state_dir / "lock"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        hint = "Create it for the service's user, or choose another state_dir."
        raise ConfigInvalid(f"state_dir {state_dir} cannot be used: {exc.strerror}.", hint=hint) from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = path.read_text(encoding="utf-8").strip() or "unknown"
            hint = "Stop that one first, or choose another state_dir."
            raise LedgerError(f"Another service (pid {holder}) works with {state_dir}.", hint=hint) from exc
        with suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)
