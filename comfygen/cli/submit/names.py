"""Names that every inbox takes, and under which a report can be found again."""

from __future__ import annotations

SUFFIXES = (".yaml", ".yml", ".json")
LEFT_ALONE = (".example", ".result", ".error")
MAX_STEM_BYTES = 180  # with an id before it and `.result.json` behind it, it stays within 255


def tame(name: str) -> str:
    """A file name as it may lie in an inbox: not hidden, no example or report by its name, printable, short."""
    stem, dot, suffix = name.rpartition(".")
    stem = "".join(char if char.isprintable() and char not in "/\\" else "_" for char in stem).lstrip(".~")
    if stem.lower().endswith(LEFT_ALONE):
        stem = "-".join(stem.rsplit(".", 1))
    stem = stem.encode("utf-8", "replace")[:MAX_STEM_BYTES].decode("utf-8", "ignore")
    return f"{stem or 'request'}{dot}{suffix}"
