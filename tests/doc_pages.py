"""README and docs as they are read: their blocks of code, their headings, their links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FENCE: Final = re.compile(r"^```(\S*)$")
HEADING: Final = re.compile(r"^(#+) (.+)$")
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PROMPT: Final = "$ "


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of code, and where it begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    language, start, inside = "", 0, list[str]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if fence and not start:
            language, start, inside = fence[1], number, []
        elif fence:
            yield Block(page=path.name, line=start, language=language, text="\n".join(inside) + "\n")
            start = 0
        elif start:
            inside.append(line)
    assert not start, f"{path.name}:{start}: this block has no end"


def prose(path: Path) -> str:
    """A page without its blocks."""
    kept, outside = [], True
    for line in path.read_text(encoding="utf-8").splitlines():
        if FENCE.match(line):
            outside = not outside
        elif outside:
            kept.append(line)
    return "\n".join(kept)


def anchors(path: Path) -> set[str]:
    """What a link into a page may name, as GitHub makes it from the headings."""
    headings = [found[2] for line in prose(path).splitlines() if (found := HEADING.match(line))]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> Iterator[str]:
    """The targets of all links of a page."""
    return (found[1] for found in LINK.finditer(prose(path)))


def calls(block: Block) -> Iterator[list[str]]:
    """The commands of a transcript as words, without variables before them, redirections and comments."""
    for line in block.text.splitlines():
        if line.startswith(PROMPT):
            words = shlex.split(line.removeprefix(PROMPT), comments=True)
            while "=" in words[0]:
                words = words[1:]
            yield words
