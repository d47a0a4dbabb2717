"""Mistakes in words for people: what pydantic found, where it stands, what is allowed, what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from comfygen.documents import Document, Path, did_you_mean, dotted, shown
from comfygen.errors import Problem
from comfygen.request.fields import OWN

MAX_MISTAKES: Final = 100


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One mistake at a path of a document."""

    path: Path
    message: str
    allowed: str | None = None
    hint: str | None = None

    def problem(self, document: Document | None = None, file: str | None = None) -> Problem:
        """The mistake as it is reported: with the file and the line, where there are any."""
        return Problem(
            message=self.message,
            file=file,
            line=document.line(self.path) if document else None,
            field=dotted(self.path) or None,
            allowed=self.allowed,
            hint=self.hint or None,
        )


class Vocabulary:
    """What may stand where. Keys are places such as `loras[].strength`, values say in words what is allowed there."""

    def __init__(self, allowed: Mapping[str, str], meant: Mapping[str, str] | None = None) -> None:
        """`meant` maps words that people use elsewhere to the key they mean."""
        self.allowed, self.meant = allowed, meant or {}

    def at(self, path: Path) -> str | None:
        """What is allowed at `path`, or around it."""
        return next(
            (self.allowed[p] for n in range(len(path), 0, -1) if (p := _pattern(path[:n])) in self.allowed), None
        )

    def beside(self, path: Path) -> list[str]:
        """The keys that may stand beside the last one of `path`."""
        around = _pattern((*path[:-1], "")) if len(path) > 1 else ""
        return [key.removeprefix(around) for key in self.allowed if re.fullmatch(re.escape(around) + r"[^.\[]+", key)]

    def suggestion(self, path: Path) -> str | None:
        """Which key was probably meant by the unknown one at the end of `path`."""
        word, known = str(path[-1]), self.beside(path)
        meant = self.meant.get(word.lower().replace("-", "_"))
        return f"Did you mean {meant}?" if meant in known else did_you_mean(word, known)


def _pattern(path: Path) -> str:
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _whole(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """A whole number was wanted."""
    hint = ""
    if isinstance(value, float) and value.is_integer():
        hint = f"Write {int(value)}." if abs(value) < 2**64 else ""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        hint = f"Write {int(value)} without quotes."
    return f"must be a whole number, not {shown(value)}.", hint


def _number(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """Any number was wanted."""
    bare = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", value)
    return f"must be a number, not {shown(value)}.", f"Write {value} without quotes." if bare else ""


def _boolean(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """True or false was wanted."""
    meant = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}
    word = meant.get(str(value).lower()) if isinstance(value, str | int) else None
    return f"must be true or false, not {shown(value)}.", f"Write {word}." if word else ""


def _text(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """A text was wanted."""
    simple = isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**40)
    written = str(value).lower() if isinstance(value, bool) else value
    return f"must be a text, not {shown(value)}.", f'Write "{written}" in quotes.' if simple else ""


def _list(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """A list was wanted."""
    hint = "Put it on a line of its own, after `- `." if isinstance(value, str | int | float) else ""
    return f"must be a list, not {shown(value)}.", hint


def _mapping(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """A mapping was wanted."""
    return f"must be a mapping (`key: value`), not {shown(value)}.", ""


def _choice(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """One of a few words was wanted."""
    choices = re.findall(r"'([^']*)'", str(ctx["expected"]))
    meant = did_you_mean(value, choices) if isinstance(value, str) else None
    return f"must be one of {', '.join(choices)}, not {shown(value)}.", meant or ""


def _too_many(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """A list is too long."""
    return f"has {ctx['actual_length']} entries; at most {ctx['max_length']} are possible.", ""


def _small(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """A number lies below its range."""
    return f"{shown(value).removeprefix('the number ')} is too small.", ""


def _large(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """A number lies above its range."""
    return f"{shown(value).removeprefix('the number ')} is too large.", ""


def _unknown(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """Something that no key of ours can run into; a test keeps it so."""
    return f"cannot be {shown(value)}.", ""


def _own(value: object, ctx: Mapping[str, Any]) -> tuple[str, str]:
    """One of our own checks has said it already."""
    return ctx["message"], ctx["hint"]


TRANSLATIONS: Final[Mapping[str, Callable[[object, Mapping[str, Any]], tuple[str, str]]]] = {
    OWN: _own,
    "missing": lambda value, ctx: ("is required.", ""),
    "extra_forbidden": lambda value, ctx: ("is no known key.", ""),
    "int_type": _whole,
    "float_type": _number,
    "finite_number": lambda value, ctx: ("must be a finite number.", ""),
    "bool_type": _boolean,
    "string_type": _text,
    "string_unicode": lambda value, ctx: ("has half a surrogate pair.", "Remove it."),
    "tuple_type": _list,
    "list_type": _list,
    "dict_type": _mapping,
    "model_type": _mapping,
    "literal_error": _choice,
    "too_long": _too_many,
    "greater_than": _small,
    "greater_than_equal": _small,
    "less_than_equal": _large,
}


def mistakes_of(error: ValidationError, vocabulary: Vocabulary, *, prefix: Path = (), skip: int = 0) -> list[Mistake]:
    """Everything pydantic found, translated. `prefix` replaces the first `skip` parts of each path."""
    return [
        replace(mistake, path=(*prefix, *mistake.path[skip:]))
        for mistake in (_mistake(details, vocabulary) for details in error.errors(include_url=False)[:MAX_MISTAKES])
    ]


def _mistake(details: ErrorDetails, vocabulary: Vocabulary) -> Mistake:
    path = details["loc"]
    message, hint = TRANSLATIONS.get(details["type"], _unknown)(details["input"], details.get("ctx", {}))
    allowed = vocabulary.at(path)
    if details["type"] == "extra_forbidden":
        suggestion = vocabulary.suggestion(path)
        hint, allowed = suggestion or "", None if suggestion else ", ".join(vocabulary.beside(path))
    return Mistake(path=path, message=message, allowed=allowed, hint=hint)
