"""Processes of a verb that runs others: each a child that ends with its parent, its log in a file of its own."""

from __future__ import annotations

import ctypes
import fcntl
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from comfygen.errors import ComfyGenError

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 15.0
START_SECONDS = 60.0
LOOK_SECONDS = 0.05


class ProcessEnded(ComfyGenError):
    """A process that was started ended by itself, or did not do what it was waited for."""

    code = "process_ended"


def free_port(*wanted: int) -> int:
    """The first of the wanted ports that nobody has, or any that is free."""
    for port in (*wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ComfyGenError("There is no free port on 127.0.0.1.")


def _reserved(port: int) -> BinaryIO | None:
    """A lock that keeps other demos away from a port until its process listens there; None if one has it."""
    try:
        lock = (Path(tempfile.gettempdir()) / f"comfygen-demo-{port}.lock").open("ab")
    except OSError:
        return None  # another user's
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _end_with_parent() -> None:
    """Runs in the child: it is told to stop when its parent dies, however that dies. Linux only."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _ended(child: subprocess.Popen[bytes]) -> int:
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


@dataclass
class Processes:
    """Children by name. Leaving the context stops them, the last started first."""

    folder: Path
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    locks: list[BinaryIO] = field(default_factory=list)

    def port(self, preferred: int) -> int:
        """The preferred port if neither another demo nor anybody else has it, or any that is free."""
        lock = _reserved(preferred)
        if lock is None:
            return free_port()
        self.locks.append(lock)
        return free_port(preferred)

    def start(self, name: str, words: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start `python -m WORDS…` (or an absolute command) in a session of its own: Ctrl-C is for the parent."""
        command = list(words) if Path(words[0]).is_absolute() else [sys.executable, "-m", *words]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environ),
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    def wait_for(self, what: str, ready: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
        """Wait until something is the case. Raises ProcessEnded when a child ends meanwhile, or time runs out."""
        end = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > end:
                raise ProcessEnded(f"{what} took longer than {seconds:.0f} s.", hint=f"See the logs in {self.folder}.")
            time.sleep(LOOK_SECONDS)

    def kill(self, name: str) -> None:
        """Kill a child as a power cut does; it may be started again under its name."""
        child = self.children.pop(name)
        child.kill()
        child.wait()

    def stop(self, name: str) -> int:
        """Tell a child to end; its exit code, that of a kill if it takes too long."""
        return _ended(self.children.pop(name))

    def log(self, name: str) -> str:
        """All that a child has said."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Raise ProcessEnded if a child has ended."""
        for name, child in self.children.items():
            if (code := child.poll()) is not None:
                tail = "\n".join(self.log(name).splitlines()[-8:])
                hint = f"The whole log is {self.folder / f'{name}.log'}."
                raise ProcessEnded(f"{name} ended with code {code}:\n{tail}", hint=hint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for child in reversed(self.children.values()):
            _ended(child)
        for lock in self.locks:
            lock.close()
