"""Names in an inbox: which ones are requests, which are somebody's temporary files, and how to show odd ones."""

from __future__ import annotations

import re

SUFFIXES = (".yaml", ".yml", ".json")
OWN = (".result.json", ".error.json", ".example.yaml", ".example.yml", ".example.json")
TEMPORARY = re.compile(
    r"^(\.|~\$|~syncthing~)|(~|\.tmp|\.part|\.partial|\.filepart|\.crdownload|\.download|\.sw[a-z])$", re.IGNORECASE
)
MAX_NAME_BYTES = 255


def is_request_name(name: str) -> bool:
    """Whether a file of this name is a request: .yaml, .yml or .json, and no temporary, example or result file."""
    lower = name.lower()
    return lower.endswith(SUFFIXES) and not lower.endswith(OWN) and not TEMPORARY.search(name)


def request_name(prefix: str, key: str) -> str | None:
    """The file name of a request object right below a prefix; None if the key is none's: a report, or put away."""
    name = key.removeprefix(prefix)
    return name if "/" not in name and is_request_name(name) else None


def printable(name: str) -> str:
    """A file name as text that can be stored, logged and written as a name again."""
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() and char != "/" else f"\\x{ord(char):02x}" for char in shown)


def fitted(prefix: str, name: str, suffix: str = "") -> str:
    """`prefix + name + suffix` within 255 bytes: the name's stem is cut at a character, its ending stays."""
    stem, dot, ending = name.rpartition(".")
    tail = f"{dot}{ending}{suffix}" if stem else suffix
    room = MAX_NAME_BYTES - len(prefix.encode()) - len(tail.encode())
    kept = (stem or name).encode()[: max(room, 1)].decode("utf-8", "ignore")
    return f"{prefix}{kept}{tail}"
