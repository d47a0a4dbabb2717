"""Is a dropped file complete? A pure judgement over what was seen of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

UNLEASED_SETTLE = 2.0


class Writers(StrEnum):
    """What the kernel says about other openers of the file (a read lease tells)."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"  # file systems without leases, and files of other users


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at a file showed. `at` is monotonic seconds, when these very values were first seen."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    at: float

    @property
    def identity(self) -> str:
        return f"{self.device}:{self.inode}"

    def since(self, earlier: Look | None) -> Look:
        """This look, dated back to the earlier one if nothing has changed in between."""
        same = earlier is not None and self.values == earlier.values
        return earlier if same and earlier is not None else self

    @property
    def values(self) -> tuple[int, int, int, int]:
        return self.device, self.inode, self.size, self.mtime_ns


def is_complete(look: Look, writers: Writers, *, now: float) -> bool:
    """Whether nobody is writing any more.

    A lease answers at once. Where there are none, the file must not have changed for two seconds: by change, not by
    age, so that clocks and time stamps that jump do no harm.
    """
    if writers is Writers.UNKNOWN:
        return now - look.at >= UNLEASED_SETTLE
    return writers is Writers.NONE


def is_settled(look: Look, *, now: float, settle: float) -> bool:
    """Whether a file that makes no sense was left alone for long enough to be called broken."""
    return now - look.at >= settle
