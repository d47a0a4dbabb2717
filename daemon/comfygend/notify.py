"""READY, STATUS, WATCHDOG and STOPPING to systemd, over the datagram socket it names; silent without one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Notify:
    """Speaks sd_notify(3). `address` is empty when no service manager listens."""

    address: str = ""
    watchdog_seconds: float | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Notify:
        """`NOTIFY_SOCKET`, and half of `WATCHDOG_USEC` when it is meant for this process."""
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
        ours = usec.isdigit() and pid == str(os.getpid())
        return cls(address=environ.get("NOTIFY_SOCKET", ""), watchdog_seconds=int(usec) / 2e6 if ours else None)

    def reloading(self) -> None:
        """A reload begins; READY ends it. systemd wants to know when, by the monotonic clock."""
        self.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def say(self, *lines: str) -> None:
        """Send assignments such as `READY=1`. A manager that does not listen is no reason to fail."""
        if not self.address:
            return
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.connect(path)
                channel.sendall("\n".join(lines).encode())
            except OSError:
                return
