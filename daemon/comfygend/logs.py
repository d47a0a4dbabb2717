"""How the service writes its log: for people on a terminal, with priorities under journald."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
QUIET = ("aiobotocore", "botocore", "aiohttp.access", "watchfiles", "asyncio")


class JournalFormatter(logging.Formatter):
    """Every line begins with its priority, also those of a traceback; journald adds the time."""

    def format(self, record: logging.LogRecord) -> str:
        priority = PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in escaped(super().format(record)).splitlines())


class TerminalFormatter(logging.Formatter):
    """Time, level and text; what could move a terminal's cursor is shown as an escape."""

    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record))


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
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
