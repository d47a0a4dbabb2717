"""The questions that history is asked: right answers, and no question that reads the whole table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfygen.generation import Generation, GenerationLora
from comfygen.index import Index
from comfygen.index.queries import (
    GALLERY,
    GALLERY_WORDS,
    LORA_GENERATIONS,
    LORA_USAGE,
    PROMPT_CONTAINS,
    PROMPT_WORDS,
    QUERIES,
    SEED_RANGE,
    VALIDATED,
    Query,
    escape_fts,
)

BIG = 2**64 - 1
ROWS = (
    ("sunset.png", "A beautiful Sunset over mountains", 12345, 0.85, ("style",)),
    ("robot.png", "robot in factory, 100% steel_blue", 10000, 0.8, ("style", "chrome", "style")),
    ("car.png", "single red car on an empty road", 20001, 0.79, ()),
    ("dancer.png", "dancers performing, dynamic movement", BIG, None, ("motion",)),
    ("lake.png", "a lake in the äußere Hebriden", 2**63, None, ()),
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    opened = Index.open(tmp_path_factory.mktemp("index") / "index.db")
    opened.upsert_many(
        Generation(
            key=key,
            timestamp=f"2026-01-0{n + 1}T00:00:00.000000Z",
            prompt=prompt,
            negative_prompt="blurry",
            seed=seed,
            validation_score=score,
            tags=("demo tag",),
            loras=tuple(GenerationLora(position=at, name=name, strength=0.5) for at, name in enumerate(loras)),
        )
        for n, (key, prompt, seed, score, loras) in enumerate(ROWS)
    )
    yield opened
    opened.close()


@pytest.fixture
def reader(index: Index) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{index.path}?mode=ro", uri=True)
    connection.create_function("escape_fts", 1, escape_fts)
    connection.row_factory = sqlite3.Row
    yield connection
    connection.close()


def keys(reader: sqlite3.Connection, query: Query, **parameters: str) -> list[str]:
    """The names of what a question finds; parameters are text, as a web form sends them."""
    return [row["key"].removesuffix(".png") for row in reader.execute(query.sql, parameters)]


EVERYTHING = ["lake", "dancer", "car", "robot", "sunset"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unse", ["sunset"]),
        ("sunset over", ["sunset"]),
        ("SUNSET", ["sunset"]),
        ("0% st", ["robot"]),
        ("steel_b", ["robot"]),
        ("s_eel", []),
        ("r%d", []),
        ("äuße", ["lake"]),
        ("a", EVERYTHING),
        ("ok", []),
        ("", EVERYTHING),
        ("blurry", []),
        ("'", []),
    ],
)
def test_prompt_contains(reader: sqlite3.Connection, text: str, expected: list[str]) -> None:
    """Parts of words are found, wildcards mean themselves, short texts work too, newest first."""
    assert keys(reader, PROMPT_CONTAINS, text=text) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mountain sunsets", ["sunset"]),
        ("dancer", ["dancer"]),
        ("perform", ["dancer"]),
        ('"red car"', ["car"]),
        ('"car red"', []),
        ("demo", EVERYTHING),
        ("blurry", []),
        ("AND (", []),
        ('unclosed "red', []),
        ("", []),
        ('""', []),
    ],
)
def test_prompt_words(reader: sqlite3.Connection, words: str, expected: list[str]) -> None:
    """Words are found in any form; operators and quotes that a person types are no syntax errors."""
    assert keys(reader, PROMPT_WORDS, words=words) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ("10000", "20000", ["robot", "sunset"]),
        ("10001", "12345", ["sunset"]),
        ("", "", ["robot", "sunset", "car", "lake", "dancer"]),
        (str(2**63), str(BIG - 1), ["lake"]),
        (str(2**63 + 1), "", ["dancer"]),
        (str(BIG), str(BIG), ["dancer"]),
        ("20001", str(2**63), ["car", "lake"]),
        ("20002", str(2**63 - 1), []),
    ],
)
def test_seed_range(reader: sqlite3.Connection, low: str, high: str, expected: list[str]) -> None:
    """Both ends count, and seeds beyond SQLite's integers are compared exactly."""
    assert keys(reader, SEED_RANGE, seed_from=low, seed_to=high) == expected


def test_seeds_are_shown_exactly(reader: sqlite3.Connection) -> None:
    """The answer shows all the digits of a seed."""
    row = reader.execute(SEED_RANGE.sql, {"seed_from": str(BIG), "seed_to": ""}).fetchone()
    assert row["seed"] == str(BIG)


@pytest.mark.parametrize(
    ("at_least", "expected"), [("0.8", ["sunset", "robot"]), ("", ["sunset", "robot"]), ("0.9", [])]
)
def test_validated(reader: sqlite3.Connection, at_least: str, expected: list[str]) -> None:
    """The threshold itself counts, what was never validated does not, the best come first."""
    assert keys(reader, VALIDATED, at_least=at_least) == expected


def test_lora_usage(reader: sqlite3.Connection) -> None:
    """Every use of a LoRA counts, with when it was first and last used."""
    expected = [
        ("style", 3, "2026-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"),
        ("chrome", 1, "2026-01-02T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"),
        ("motion", 1, "2026-01-04T00:00:00.000000Z", "2026-01-04T00:00:00.000000Z"),
    ]
    assert [tuple(row) for row in reader.execute(LORA_USAGE.sql)] == expected


def test_generations_with_a_lora(reader: sqlite3.Connection) -> None:
    """A generation that uses a LoRA twice is found once."""
    assert keys(reader, LORA_GENERATIONS, lora="style") == ["robot", "sunset"]


def test_loras_stand_in_the_answer(reader: sqlite3.Connection) -> None:
    """Each row carries its LoRAs in chain order."""
    row = reader.execute(PROMPT_CONTAINS.sql, {"text": "robot"}).fetchone()
    one, other = '{"name":"style","strength":0.5}', '{"name":"chrome","strength":0.5}'
    assert row["loras"] == f"[{one},{other},{one}]"


def test_search_gives_generations(index: Index) -> None:
    """From Python, the same questions give whole generations."""
    assert [row.key for row in index.search("mountain")] == ["sunset.png"]
    assert [row.key for row in index.contains("a", limit=2)] == ["lake.png", "dancer.png"]


PLANS = [
    *((query.name, query.sql, dict.fromkeys(query.parameters, "")) for query in QUERIES),
    ("gallery", GALLERY, {"before": "9", "size": "9"}),
    ("gallery_words", GALLERY_WORDS, {"before": "9", "size": "9", "words": ""}),
    ("table", "select * from generations order by timestamp desc limit 51", {}),
    ("count", "select count(*) from generations", {}),
]


@pytest.mark.parametrize(("name", "sql", "parameters"), PLANS, ids=[name for name, *_ in PLANS])
def test_no_question_sorts_or_reads_the_table(
    reader: sqlite3.Connection, name: str, sql: str, parameters: dict[str, str]
) -> None:
    """Each question walks an index or a full-text table; only LoRAs are sorted, of which there are few."""
    plan = [row["detail"] for row in reader.execute(f"explain query plan {sql}", parameters)]
    allowed = {"prompt_contains": ["SCAN g"], "lora_usage": ["USE TEMP B-TREE FOR ORDER BY"]}
    slow = [line for line in plan if line in {"SCAN g", "SCAN generations", "SCAN gl"} or "TEMP B-TREE" in line]
    assert slow == allowed.get(name, [])


@pytest.mark.parametrize(
    ("sql", "used"),
    [
        (PROMPT_CONTAINS.sql, "VIRTUAL TABLE INDEX 192:L0"),
        (PROMPT_WORDS.sql, "VIRTUAL TABLE INDEX 192:M"),
        (SEED_RANGE.sql, "INDEX generations_seed (seed>? AND seed<?)"),
        (SEED_RANGE.sql, "INDEX generations_big_seed (<expr>>? AND <expr><?)"),
        (VALIDATED.sql, "INDEX generations_score (validation_score>?)"),
        (LORA_GENERATIONS.sql, "COVERING INDEX generation_loras_newest (lora_id=?)"),
        ("select * from generations order by timestamp desc", "INDEX generations_newest"),
        ("select * from generations where job = 'x'", "INDEX generations_job (job=?)"),
    ],
)
def test_each_question_uses_its_index(reader: sqlite3.Connection, sql: str, used: str) -> None:
    """The plans name the indexes that were made for them."""
    marks = {name: "" for query in QUERIES for name in query.parameters}
    plan = " | ".join(row["detail"] for row in reader.execute(f"explain query plan {sql}", marks))
    assert used in plan


@given(st.text())
def test_any_text_is_a_valid_search(text: str) -> None:
    """Whatever is typed, full-text search does not fail over its syntax."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5 (prompt)")
    quoted = escape_fts(text.replace("\0", "")) or '""'
    rows = connection.execute("SELECT * FROM t WHERE t MATCH ?", (quoted,)).fetchall()
    connection.close()
    assert rows == []
