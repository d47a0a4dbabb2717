"""What an unquoted word of a file means: null, a boolean, a number, or text. Numbers in disguise are refused."""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

MAX_DIGITS: Final = 100

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_QUOTE_IT: Final = "Put it in quotes if it is a text."


class Complaint(NamedTuple):
    """Why a word cannot stand unquoted."""

    message: str
    hint: str


_DISGUISES: Final = (
    (
        re.compile(r"[-+]?0[0-9]+"),
        "has a leading zero: YAML would read it as octal.",
        "Drop the zero, or put it in quotes if it is a text.",
    ),
    (re.compile(r"[-+]?0(?:[xX][0-9a-fA-F_]+|[oO][0-7_]+|[bB][01_]+)"), "is no decimal number.", _QUOTE_IT),
    (re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?"), "would be a number to the base 60 in YAML.", _QUOTE_IT),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|NaN|-?Infinity"), "is no finite number.", _QUOTE_IT),
)


def read_plain(text: str) -> tuple[object, Complaint | None]:
    """The value of an unquoted word, and what speaks against it (the value is then a stand-in)."""
    if text in _NULLS:
        return None, None
    if text in _BOOLS:
        return _BOOLS[text], None
    if _INT.fullmatch(text) or _FLOAT.fullmatch(text):
        return _number(text)
    for pattern, message, hint in _DISGUISES:
        if pattern.fullmatch(text):
            return text, Complaint(f"{text[:MAX_DIGITS]} {message}", hint)
    return text, None


def _number(text: str) -> tuple[object, Complaint | None]:
    """A decimal number: exact if it is whole, finite if it is not."""
    if len(text) > MAX_DIGITS:
        return text, Complaint("is a number with very many digits.", _QUOTE_IT)
    number = int(text) if _INT.fullmatch(text) else float(text)
    if not math.isfinite(number):
        return text, Complaint(f"{text} is too large a number.", _QUOTE_IT)
    return number, None
