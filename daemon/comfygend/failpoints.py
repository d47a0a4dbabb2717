"""Failpoints: named places at durable hand-overs where a test kills the service. Inert unless armed.

`COMFYGEN_FAILPOINT=name[:n]` kills the process (SIGKILL) when `name` is reached for the n-th time (default 1).
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum


class Point(StrEnum):
    """Every durable hand-over, in the order in which a request passes them."""

    RECEIVED = "received"  # bytes in the ledger, file still in the inbox
    CLAIMED = "claimed"  # file renamed, ledger not told
    ACCEPTED = "accepted"  # jobs and plans in the ledger
    TAKEN = "taken"  # prompt id written down, nothing sent
    POSTED = "posted"  # ComfyUI has the prompt, ledger not told
    SUBMITTED = "submitted"  # the ledger knows
    RAN = "ran"  # the prompt has ended, nothing fetched
    FETCHED = "fetched"  # outputs in the spool, ledger not told
    GENERATED = "generated"  # the ledger knows
    OUTPUT_STORED = "output_stored"  # output in the store, sidecar missing
    SIDECAR_STORED = "sidecar_stored"  # all in the store, ledger not told
    PUBLISHED = "published"  # the ledger knows, nothing indexed, report not written
    REPORTED = "reported"  # report written and file put away, ledger not told
    INDEXED = "indexed"  # the row is in the index


_armed: dict[str, int] = {}


def arm(text: str | None) -> None:
    """Arm one failpoint, or none. Raises ValueError for a name that is no point."""
    _armed.clear()
    if text:
        name, _, count = text.partition(":")
        _armed[Point(name)] = int(count or 1)


def failpoint(point: Point) -> None:
    """Die here, if this point is armed and its turn has come."""
    if point in _armed:
        _armed[point] -= 1
        if _armed[point] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
