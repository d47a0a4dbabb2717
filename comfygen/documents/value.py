"""Document: the value of one document of a file, and the line of everything in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from comfygen.errors import Problem

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a file. `lines` has the 1-based line of every key and list entry; `()` is the document's own.

    `mistakes` are what the strict rules refuse: `load_documents` raises them, `read_documents` leaves them here, so
    that a caller can report them with its own. At the places of `refused` the value is a stand-in.
    """

    value: object
    lines: Mapping[Path, int]
    mistakes: tuple[Problem, ...] = ()
    refused: Mapping[Path, Problem] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """The line of a place, or of the nearest place around it."""
        return next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)

    def doubts(self, path: Path) -> bool:
        """Whether a place is, or lies in, a stand-in: what is wrong there has been said already."""
        return any(path[:n] in self.refused for n in range(1, len(path) + 1))
