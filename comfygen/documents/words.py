"""How the messages for people name values and places: short, quoted, and harmless on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from comfygen.documents.value import Path

MAX_SHOWN = 60
_PLAIN_KEY = re.compile(r"[\w-]{1,60}", re.ASCII)


def quoted(text: str) -> str:
    """A text in double quotes: shortened, everything unprintable as an escape."""
    cut = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)
    return f'"{safe}"'


def shown(value: object) -> str:
    """A value of a file as a sentence names it: `the text "20"`, `the number 1.5`, `true`, `a list`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return f"the text {quoted(value)}"
        case int() | float():
            digits = str(value) if isinstance(value, float) or abs(value) < 10**MAX_SHOWN else "with very many digits"
            return f"the number {digits}"
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return f"a {type(value).__name__}"


def dotted(path: Path) -> str:
    """A place in a document as people write it: `loras[1].strength`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_KEY.fullmatch(part) else quoted(part))
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The question that helps someone who mistyped, or None when nothing known is near."""
    names = {name.lower(): name for name in known}
    near = get_close_matches(word[:MAX_SHOWN].lower(), names, n=1, cutoff=0.6)
    return f"Did you mean {names[near[0]]}?" if near else None
