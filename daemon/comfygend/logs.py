"""How the service writes its log: for people on a terminal, with priorities under journald."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
QUIET = ("aiobotocore", "botocore", "aiohttp.access", "watchfiles", "asyncio")


class JournalFormatter(logging.Formatter):
    """Every line begins with its priority, also those of a traceback; journald adds the time."""

    def format(self, record: logging.LogRecord) -> str:
        priority = PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in told(super().format(record)).splitlines())


class TerminalFormatter(logging.Formatter):
    """Time, level and text; what could move a terminal's cursor is shown as an escape."""

    def format(self, record: logging.LogRecord) -> str:
        return told(super().format(record))


class Flood(logging.Filter):
    """Lets so many warnings of one kind pass in a while, and says later how many it has kept back.

    Kinds are told apart by their text without what is filled into it, so that a thousand files with the same fault are
    one kind. What is no warning passes always.
    """

    def __init__(self, *, most: int = 50, seconds: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.most, self.seconds, self.clock = most, seconds, clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if record.levelno < logging.WARNING:
            return True
        kind, now = (record.name, str(record.msg)), self.clock()
        since, count = self._seen.get(kind, (now, 0))
        if now - since >= self.seconds:
            if (kept_back := count - self.most) > 0:
                record.msg, record.args = f"{record.getMessage()} ({kept_back} more like it were not written)", None
            since, count = now, 0
        self._seen[kind] = since, count + 1
        return count < self.most


def told(text: str) -> str:
    """A record as it is written: further lines of it are indented, so that none passes for a record of its own."""
    return escaped(text).replace("\n", "\n    ")


def escaped(text: str) -> str:
    """Text without control characters, which a prompt or a file name may have brought."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def configure(environ: Mapping[str, str], *, level: str = "INFO") -> None:
    """Log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    if environ.get("JOURNAL_STREAM"):
        handler.setFormatter(JournalFormatter("%(name)s: %(message)s"))
    else:
        handler.setFormatter(TerminalFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    handler.addFilter(Flood())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
