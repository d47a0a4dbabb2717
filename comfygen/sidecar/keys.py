"""Object keys: `YYYYMMDD_HHMMSS_<name>-<job>[_n].<ext>`, and `.json` after it for the sidecar.

The job id makes a key unique, whatever the clock and the name say; the same job always gives the same keys, so that a
repeated upload overwrites itself. A name has no slash and every key an extension, so no key is the folder of another.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from pathlib import PurePosixPath

from comfygen.store import LONGEST_SUFFIX, MAX_SEGMENT_BYTES, check_key

SIDECAR_SUFFIX = ".json"
NAMELESS = "output"
FORBIDDEN = frozenset('/\\:*?"<>|')
# Control characters, lone surrogates, line and paragraph separators; and what turns the reading direction around.
FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
JOINER = "\u200d"
EXTENSION = re.compile(r"[a-z0-9]{1,16}")
FILE_SUFFIX = re.compile(
    r"\.(?=\w*[a-z])\w{1,5}$", re.ASCII | re.IGNORECASE
)  # `.png`, `.mp4`; not the 5 of `robot 1.5`


def object_key(*, stamp: datetime, name: str, job: str, n: int | None, ext: str, prefix: str = "") -> str:
    """The key of output `n` of a job (None when it is the only one). `stamp` is an aware time: the job's own.

    The name is cleaned and cut at a character boundary, so that the segment stays within 255 bytes with `.json` and
    `.error.json` behind it. Raises KeyInvalid when `prefix` makes the whole impossible.
    """
    if stamp.tzinfo is None:
        raise ValueError("the stamp of an object key needs a time zone")
    head = stamp.astimezone(UTC).strftime("%Y%m%d_%H%M%S_")
    number = "" if n is None else f"_{n}"
    tail = f"-{job}{number}.{_extension(ext)}"
    room = MAX_SEGMENT_BYTES - len((head + tail + LONGEST_SUFFIX).encode())
    segment = head + _cut(clean_name(name), max(room, 0)) + tail
    folder = prefix.strip("/")
    return check_key(f"{folder}/{segment}" if folder else segment)


def sidecar_key(key: str) -> str:
    """The key of the sidecar of an output."""
    return key + SIDECAR_SUFFIX


def output_key(key: str) -> str | None:
    """The key of the output that a sidecar belongs to; None if the key is no sidecar's."""
    if not key.endswith(SIDECAR_SUFFIX):
        return None
    stem = key.removesuffix(SIDECAR_SUFFIX)
    name = stem[stem.rfind("/") + 1 :]  # not pathlib, which interns every part of a million keys
    return stem if 0 < name.rfind(".") < len(name) - 1 else None


def base_name(*, output: str | None, workflow: str) -> str:
    """What an output is called: the stem of the file name that was asked for, or of the workflow."""
    name = PurePosixPath(output or workflow).name
    return FILE_SUFFIX.sub("", name) or name


def clean_name(name: str) -> str:
    """The name as a part of a key: NFC, letters of any script and blanks kept, what a file system dislikes as `_`."""
    safe = "".join("_" if _is_forbidden(char) else char for char in unicodedata.normalize("NFC", name))
    return safe.strip().strip(".").strip() or NAMELESS


def _is_forbidden(char: str) -> bool:
    return char in FORBIDDEN or char in TURNING or unicodedata.category(char) in FORBIDDEN_CATEGORIES


def _cut(name: str, room: int) -> str:
    """The longest beginning of the name within `room` bytes that does not tear a character from its marks."""
    raw = name.encode()
    if len(raw) <= room:
        return name
    kept = raw[:room].decode(errors="ignore")
    while kept and (_continues(name[len(kept)]) or kept.endswith(JOINER)):
        kept = kept[:-1]
    return kept.rstrip(" .") or NAMELESS


def _continues(char: str) -> bool:
    """Whether a character belongs to the one before it: a mark, a variation selector, a joiner, a skin tone."""
    return unicodedata.category(char).startswith("M") or char == JOINER or "\U0001f3fb" <= char <= "\U0001f3ff"


def _extension(ext: str) -> str:
    plain = ext.removeprefix(".").lower()
    return plain if EXTENSION.fullmatch(plain) else "bin"
