"""The full-text tables over generations: words of a prompt, and any three letters in a row of it.

Both hold no text of their own (external content); triggers keep them true through inserts, updates and deletes. Tools
that rebuild a table drop its triggers in silence, so `is_true` looks for them at every start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlite_utils import Database


@dataclass(frozen=True, kw_only=True)
class FullText:
    """One full-text table over `columns` of generations."""

    name: str
    columns: tuple[str, ...]
    options: str

    @property
    def table(self) -> str:
        # Datasette recognises a full-text table by content="…" in double quotes only.
        listed = ", ".join(self.columns)
        return f'CREATE VIRTUAL TABLE {self.name} USING fts5 ({listed}, content="generations", {self.options})'

    @property
    def triggers(self) -> dict[str, str]:
        """The statements that keep it true, by name."""
        listed = ", ".join(self.columns)
        old, new = (", ".join(f"{row}.{column}" for column in self.columns) for row in ("old", "new"))
        gone = f"INSERT INTO {self.name} ({self.name}, rowid, {listed}) VALUES ('delete', old.rowid, {old});"
        come = f"INSERT INTO {self.name} (rowid, {listed}) VALUES (new.rowid, {new});"
        changed = " OR ".join(f"old.{column} IS NOT new.{column}" for column in self.columns)
        bodies = {
            "insert": f"AFTER INSERT ON generations BEGIN {come} END",
            "delete": f"AFTER DELETE ON generations BEGIN {gone} END",
            "update": f"AFTER UPDATE OF {listed} ON generations WHEN {changed} BEGIN {gone} {come} END",
        }
        return {f"{self.name}_{verb}": f"CREATE TRIGGER {self.name}_{verb} {body}" for verb, body in bodies.items()}


WORDS: Final = FullText(
    name="generations_words",
    columns=("prompt", "negative_prompt", "tags", "project"),
    options='tokenize="porter unicode61"',
)
# detail=none: a third of the size, and enough for LIKE, which is all it is for.
LETTERS: Final = FullText(name="generations_letters", columns=("prompt",), options='tokenize="trigram", detail=none')
FULL_TEXTS: Final = (WORDS, LETTERS)


def is_true(db: Database, text: FullText) -> bool:
    """Whether the table is there, its triggers are what they should be, and it has as many rows as generations."""
    found = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
    if found.get(text.name) != text.table or any(found.get(name) != sql for name, sql in text.triggers.items()):
        return False
    counts = db.execute(f"SELECT (SELECT count(*) FROM generations), (SELECT count(*) FROM {text.name}_docsize)")
    rows, indexed = counts.fetchone()
    return bool(rows == indexed)


def build(db: Database, text: FullText) -> None:
    """Make the table and its triggers anew, and fill it from generations. Inside the caller's transaction."""
    for name in text.triggers:
        db.execute(f"DROP TRIGGER IF EXISTS {name}")
    db.execute(f"DROP TABLE IF EXISTS {text.name}")
    db.execute(text.table)
    for statement in text.triggers.values():
        db.execute(statement)
    db.execute(f"INSERT INTO {text.name} ({text.name}) VALUES ('rebuild')")
