"""The table of faults names tests that exist, and leaves no row out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TABLE = (TESTS / "acceptance" / "README.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TABLE)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[f"{file}::{name}" for file, name in NAMED])
def test_a_named_test_exists(file: str, name: str) -> None:
    """A test that was renamed takes its row of the table with it."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("letter", "rows"), [("A", 26), ("B", 25), ("C", 23), ("D", 9), ("E", 10), ("F", 20)])
def test_no_row_is_missing(letter: str, rows: int) -> None:
    """Every fault of the catalogue has its line."""
    found = set(re.findall(rf"^\| ({letter}\d+) \|", TABLE, re.MULTILINE))
    assert found == {f"{letter}{n}" for n in range(1, rows + 1)}
