"""YAML's syntax errors in a newcomer's words, at the line where the cause stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import yaml


class Unreadable(Exception):
    """The file breaks a rule that leaves nothing to go on with."""

    def __init__(self, line: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.line, self.message, self.hint = line, message, hint


class _Words(NamedTuple):
    """A syntax error explained; `opened`: the cause stands where the parser began, not where it gave up."""

    message: str
    hint: str
    opened: bool = False


_TAB: Final = _Words("a tab cannot indent.", "Use blanks.")
_QUOTE: Final = _Words("a quote is opened here and never closed.", "Close it.", True)
_CONTROL: Final = _Words("the file has a control character.", "Remove it, or write it as an escape in double quotes.")
# What libyaml says -> what a newcomer can do about it. The first phrase that occurs wins.
_PHRASES: Final[Mapping[str, _Words]] = {
    "a tab character": _TAB,
    "mapping values are not allowed": _Words(
        "a colon stands where no key can be.", 'Put a text that has ": " in quotes; begin all keys in the same column.'
    ),
    "could not find expected ':'": _Words(
        "this line is no `key: value`.", "Put a blank after the colon; indent the lines of a long text.", True
    ),
    "found unexpected end of stream": _QUOTE,
    "found unexpected document indicator": _QUOTE,
    "did not find expected ',' or": _Words(
        "a bracket is opened here and never closed.", "Close it with ] or }, or add a comma.", True
    ),
    "did not find expected node content": _Words(
        "a value is missing, or a bracket is not closed.", "Check [ ] { } and commas."
    ),
    "did not find expected '-'": _Words(
        "this line does not fit into the list above.", "Start it with `- `, or indent it."
    ),
    "did not find expected key": _Words(
        "this line does not fit.", "Begin all keys in the same column; put a text with quotes or brackets in quotes."
    ),
    "<document start>": _Words("this line does not fit.", "Begin all keys in the same column."),
    "directive": _Words("a line cannot start with %.", "Put the text in quotes."),
    "escape": _Words("a backslash in double quotes starts no known character.", "Double it, or use single quotes."),
    "block sequence entries": _Words("a list cannot start here.", "Put each `- ` on a line of its own."),
    "maximum nesting": _Words("it is nested far too deep.", "Flatten it."),
    "control characters": _CONTROL,
}
_OTHERWISE: Final = _Words("it is no valid YAML.", "Check indentation, colons and quotes.")
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what YAML 1.1 counts as one


def syntax_error(error: yaml.YAMLError, text: str) -> Unreadable:
    """What the parser found in `text`, explained."""
    if not isinstance(error, yaml.MarkedYAMLError):
        line = text.encode().count(b"\n", 0, getattr(error, "position", 0)) + 1  # the position is in bytes
        return Unreadable(line, _CONTROL.message, _CONTROL.hint)
    said = f"{error.context or ''} {error.problem or ''}"
    if "cannot start any token" in said:
        return _odd_character(error, text)
    words = next((words for phrase, words in _PHRASES.items() if phrase in said), _OTHERWISE)
    mark = error.context_mark if words.opened and error.context_mark else error.problem_mark
    return Unreadable(_line(mark), words.message, words.hint)


def _odd_character(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    """A tab where blanks must indent, or a text that begins with a character that YAML keeps for itself."""
    mark = error.problem_mark
    rest = _LINE_END.split(text)[mark.line][mark.column :] if mark else ""
    if rest.startswith("\t"):
        return Unreadable(_line(mark), _TAB.message, _TAB.hint)
    return Unreadable(_line(mark), f"a text cannot start with {rest[:1]}.", "Put the text in quotes.")


def _line(mark: yaml.error.Mark | None) -> int:
    line: int = mark.line if mark else 0
    return line + 1
