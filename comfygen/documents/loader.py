"""The strict loader: bytes -> documents. It builds values from the parser's events, so nothing is ever multiplied."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

import yaml

from comfygen.documents.plain import read_plain
from comfygen.documents.syntax import Unreadable, syntax_error
from comfygen.documents.value import Document, Path
from comfygen.documents.words import dotted
from comfygen.errors import InvalidInput, Problem

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_MISTAKES: Final = 100
UNREADABLE: Final = "The file cannot be read."

_ESCAPE = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\.")


class _Builder:
    """Turns the events of one document into a value; depth is bounded by MAX_DEPTH."""

    def __init__(self, events: Iterator[yaml.Event], file: str) -> None:
        self.events, self.file = events, file
        self.lines: dict[Path, int] = {}
        self.mistakes: list[Problem] = []
        self.refused: dict[Path, Problem] = {}

    def document(self) -> Document:
        """The document whose first event comes next."""
        event = next(self.events)
        self.lines[()] = _line(event)
        value = self.value(event, ())
        return Document(value=value, lines=self.lines, mistakes=tuple(self.mistakes), refused=self.refused)

    def value(self, event: yaml.Event, path: Path) -> object:
        """The value that begins with `event`."""
        _refuse_tricks(event)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, path)
        if len(path) >= MAX_DEPTH:
            raise Unreadable(_line(event), f"it is nested deeper than {MAX_DEPTH} levels.", "Flatten it.")
        return self.mapping(path) if isinstance(event, yaml.MappingStartEvent) else self.sequence(path)

    def sequence(self, path: Path) -> list[object]:
        """The entries up to the end of a list."""
        entries: list[object] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            place = (*path, len(entries))
            self.lines[place] = _line(event)
            entries.append(self.value(event, place))
        return entries

    def mapping(self, path: Path) -> dict[str, object]:
        """Keys and values up to the end of a mapping. A key is its text as written; of a double the first counts."""
        entries: dict[str, object] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = _key(event)
            place = (*path, key)
            if key in entries:
                hint = f"Line {self.lines[place]} has it already: remove one of the two."
                self.mistake(place, event, "is given twice.", hint)
                self.value(next(self.events), place)
                continue
            self.lines[place] = _line(event)
            entries[key] = self.value(next(self.events), place)
        return entries

    def scalar(self, event: yaml.ScalarEvent, path: Path) -> object:
        """A scalar by our rules: quoted is text, plain is what it looks like."""
        if not event.implicit[0]:
            return event.value
        value, complaint = read_plain(event.value)
        if complaint:
            self.refused[path] = self.mistake(path, event, complaint.message, complaint.hint)
        return value

    def mistake(self, path: Path, event: yaml.Event, message: str, hint: str) -> Problem:
        """Note what is wrong at `path`; beyond MAX_MISTAKES nobody reads on."""
        field = dotted(path) or None
        problem = Problem(file=self.file, line=_line(event), field=field, message=message, hint=hint)
        if len(self.mistakes) < MAX_MISTAKES:
            self.mistakes.append(problem)
        return problem


def _line(event: yaml.Event) -> int:
    line: int = event.start_mark.line if event.start_mark else 0
    return line + 1


def _refuse_tricks(event: yaml.Event) -> None:
    """Aliases can blow a file up a millionfold; anchors and tags have no other use here."""
    tricks = (
        ("aliases (*name)", "*", isinstance(event, yaml.AliasEvent)),
        ("anchors (&name)", "&", getattr(event, "anchor", None) is not None),
        ("tags (!name)", "!", getattr(event, "tag", None) is not None),
    )
    for what, sign, found in tricks:
        if found:
            hint = f"Write the value itself; put a text that starts with {sign} in quotes."
            raise Unreadable(_line(event), f"{what} are not supported.", hint)


def _key(event: yaml.Event) -> str:
    """A key as its text, whatever it looks like."""
    _refuse_tricks(event)
    if not isinstance(event, yaml.ScalarEvent):
        raise Unreadable(_line(event), "a key must be a simple text.", "Put a text that starts with { or [ in quotes.")
    if event.value == "<<" and event.implicit[0]:
        raise Unreadable(_line(event), "merge keys (<<) are not supported.", "Write the values themselves.")
    return str(event.value)


def _decoded(raw: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with its byte order mark."""
    if len(raw) > MAX_BYTES:
        raise Unreadable(
            1, f"it has {len(raw)} bytes; at most {MAX_BYTES} are possible.", "Split it into several files."
        )
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, f"it is no {'UTF-16' if utf16 else 'UTF-8'} text.", "Save the file as UTF-8.") from error
    return _with_yaml_escapes(text) if text.lstrip()[:1] in ("{", "[") else text


def _with_yaml_escapes(text: str) -> str:
    """JSON may write a character beyond U+FFFF as two escapes, which YAML refuses: join them, in real JSON only."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _ESCAPE.sub(lambda match: _joined(match[1], match[2]) if match[1] else match[0], text)


def _joined(high: str, low: str) -> str:
    code = 0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00)
    return f"\\U{code:08X}"


def _documents(raw: bytes, file: str) -> Iterator[Document]:
    """Each document as soon as it is read; raises Unreadable."""
    text = _decoded(raw)
    try:
        events = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                yield _Builder(events, file).document()
    except yaml.YAMLError as error:
        raise syntax_error(error, text) from error


def read_documents(text: bytes, *, file: str) -> tuple[Document, ...]:
    """Every document of a file with what is wrong in it; () for an empty file. Raises InvalidInput if unreadable."""
    found: list[Document] = []
    try:
        for document in _documents(text, file):
            found.append(document)  # noqa: PERF402 -- what was read is still needed when the next one is unreadable
    except Unreadable as error:
        last = Problem(file=file, line=error.line, message=error.message, hint=error.hint)
        raise InvalidInput(UNREADABLE, problems=[*_mistakes(found), last]) from error
    return tuple(found)


def load_documents(text: bytes, *, file: str) -> tuple[Document, ...]:
    """Every document of a file; () for an empty file. Raises InvalidInput with everything the strict rules refuse."""
    documents = read_documents(text, file=file)
    if problems := _mistakes(documents):
        raise InvalidInput(UNREADABLE, problems=problems)
    return documents


def read_document(text: bytes, *, file: str) -> Document:
    """The only document of a file with what is wrong in it; an empty file is an empty mapping.

    Raises InvalidInput if the file is unreadable or has several documents.
    """
    documents = read_documents(text, file=file)
    if len(documents) > 1:
        message = "a second document starts here; only one is possible."
        problem = Problem(file=file, line=documents[1].line(()), message=message, hint="Remove the line `---`.")
        raise InvalidInput(UNREADABLE, problems=[*_mistakes(documents), problem])
    return documents[0] if documents and documents[0].value is not None else Document(value={}, lines={(): 1})


def one_document(text: bytes, *, file: str) -> Document:
    """The only document of a file; an empty file is an empty mapping. Raises InvalidInput with everything refused."""
    document = read_document(text, file=file)
    if document.mistakes:
        raise InvalidInput(UNREADABLE, problems=document.mistakes)
    return document


def _mistakes(documents: Sequence[Document]) -> list[Problem]:
    return [problem for document in documents for problem in document.mistakes]
