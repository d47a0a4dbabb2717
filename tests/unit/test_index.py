"""The index as a table of values: what goes in comes out, once, and in the right order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfygen.generation import Generation, GenerationLora, read_sidecar
from comfygen.index import Index, Known, Problem, Source

SIDECARS = Path(__file__).parents[1] / "data" / "sidecars"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    opened = Index.open(path)
    yield opened
    opened.close()


def lake(n: int = 0, *loras: str, **changes: object) -> Generation:
    """A generation made in second `n`."""
    made = Generation(
        key=f"lake-{n:03}.png",
        timestamp=f"2026-01-04T01:{n // 60:02}:{n % 60:02}.000000Z",
        prompt="a quiet lake",
        seed=n,
        loras=tuple(GenerationLora(position=at, name=name, strength=0.5) for at, name in enumerate(loras)),
        sidecar_etag="e",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def dump(path: Path) -> list[str]:
    """Everything that the tables hold, but for what is no content: full-text tables and the date of the schema."""
    connection = sqlite3.connect(path)
    rows = [
        f"{table}: {row}"
        for table in ("generations", "loras", "generation_loras", "problems")
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
    ]
    connection.close()
    return rows


def rowid(index: Index, key: str) -> int:
    connection = sqlite3.connect(index.path)
    found = connection.execute("SELECT rowid FROM generations WHERE key = ?", (key,)).fetchone()[0]
    connection.close()
    return int(found)


@pytest.mark.parametrize("name", ["flat.json", "nested.json", "ours.json"])
def test_every_dialect_comes_back_unchanged(index: Index, name: str) -> None:
    """A generation that was written is read back equal, in every field."""
    expected = read_sidecar("a.png.json", (SIDECARS / name).read_bytes(), etag="1", source="store")
    index.upsert_many([expected])
    assert expected == index.get("a.png")


def test_unknown_key(index: Index) -> None:
    """What is not there is None."""
    assert index.get("nowhere.png") is None


def test_identical_rows_are_not_written(index: Index) -> None:
    """Writing what is there already writes nothing."""
    rows = [lake(n, "a", "b") for n in range(3)]
    assert (index.upsert_many(rows), index.upsert_many(rows), index.count()) == (3, 0, 3)


def test_changed_row(index: Index) -> None:
    """A changed row is replaced with its LoRAs, and keeps its place."""
    index.upsert_many([lake(1, "old", "older"), lake(2)])
    before = rowid(index, "lake-001.png")
    changed = lake(1, "new", prompt="a wild sea", timestamp="2020-01-01T00:00:00.000000Z")
    assert index.upsert_many([changed]) == 1
    assert (index.get("lake-001.png"), rowid(index, "lake-001.png")) == (changed, before)


def test_same_key_twice_in_one_write(index: Index) -> None:
    """The later one wins."""
    index.upsert_many([lake(1), lake(1, prompt="a wild sea")])
    assert index.get("lake-001.png") == lake(1, prompt="a wild sea")


def test_same_lora_twice(index: Index) -> None:
    """A LoRA may stand at several places of a chain."""
    expected = lake(1, "a", "b", "a")
    index.upsert_many([expected])
    assert index.get(expected.key) == expected


def test_delete(index: Index) -> None:
    """Deleting takes the row, its LoRAs that nobody else uses, and nothing else."""
    index.upsert_many([lake(1, "mine", "shared"), lake(2, "shared")])
    assert index.delete(["lake-001.png", "nowhere.png"]) == 1
    assert sum("mine" in row for row in dump(index.path)) == 0
    assert index.get("lake-002.png") == lake(2, "shared")


def test_many_in_one_second(index: Index) -> None:
    """However many share a second, each finds a place, and none moves into another's."""
    crowd = [lake(5, key=f"{n}.png") for n in range(4100)]
    assert index.upsert_many([*crowd, lake(6)]) == 4101
    assert index.count() == 4101


def test_newest_first_whatever_the_order_of_arrival(index: Index) -> None:
    """Rows that are indexed late still stand at their time."""
    for n in (3, 1, 4, 2):
        index.upsert_many([lake(n)])
    assert [row.seed for row in index.search("lake")] == [4, 3, 2, 1]


def test_times_before_the_epoch(index: Index) -> None:
    """History may be older than Unix."""
    index.upsert_many(
        [lake(1), lake(2, timestamp="1969-12-31T23:59:59.500000Z"), lake(3, timestamp="9999-12-31T23:59:59.000000Z")]
    )
    assert [row.seed for row in index.search("lake")] == [3, 1, 2]


def test_rebuilt_index_has_identical_rows(index: Index, tmp_path: Path) -> None:
    """An index that was filled in another order, with detours, holds exactly the same as a fresh one."""
    rows = [lake(n, *("ab"[: n % 3])) for n in range(9)]
    index.upsert_many([lake(3, "gone"), lake(77, "gone")])
    index.record_problem("broken.png.json", "It is no JSON.", "9")
    index.upsert_many(reversed(rows))
    index.delete(["lake-077.png"])
    fresh = Index.open(tmp_path / "fresh.db")
    fresh.record_problem("broken.png.json", "It is no JSON.", "9")
    fresh.upsert_many(rows)
    fresh.close()
    assert dump(tmp_path / "fresh.db") == dump(index.path)


def test_problem_replaces_the_row(index: Index) -> None:
    """A sidecar that can no longer be read takes its row away, and a readable one clears its problem."""
    index.upsert_many([lake(1, "a")])
    index.record_problem("lake-001.png.json", "It is no JSON.", "2")
    assert (index.count(), index.problems()) == (
        *(0, [Problem(key="lake-001.png.json", reason="It is no JSON.", etag="2")]),
    )
    index.upsert_many([lake(1)])
    assert (index.count(), index.problems()) == (1, [])


def test_problems_can_be_cleared(index: Index) -> None:
    """By the sidecar's own key, or with its output."""
    for key in ("a.png.json", "b.png.json"):
        index.record_problem(key, "It is no JSON.")
    index.clear_problem("a.png.json")
    index.delete(["b.png"])
    assert index.problems() == []


def test_etags_come_in_byte_order_of_the_sidecar(index: Index) -> None:
    """Pages of known sidecars are in the order of a store's listing, rows and problems together."""
    keys = ["a.png", "a.png-1.png", "B.png", "ä.png", "z/1.png", "🚗.png", "\uffee.png"]
    index.upsert_many([lake(n, key=key) for n, key in enumerate(keys)])
    index.record_problem("c.png.json", "It is no JSON.", "p")
    pages: list[Known] = []
    while page := index.etags(pages[-1].sidecar_key if pages else "", limit=3):
        pages += page
    expected = sorted([f"{key}.json" for key in (*keys, "c.png")], key=str.encode)
    assert [known.sidecar_key for known in pages] == expected
    assert Known("c.png", "c.png.json", "p", is_problem=True) in pages


def test_sources(index: Index) -> None:
    """What a listing held is kept per store."""
    first = Source(id="outputs", reconciled_at=None, objects=0, generations=0, problems=0)
    later = replace(first, reconciled_at="2026-01-04T01:10:32.000000Z", objects=4, generations=2)
    for source in (first, later):
        index.record_source(source)
    assert index.sources() == [later]


def test_reset_is_seen_by_open_readers(index: Index) -> None:
    """Starting over happens in the same file: whoever has it open sees it empty, and then filled again."""
    index.upsert_many([lake(n, "a") for n in range(3)])
    reader = sqlite3.connect(f"file:{index.path}?mode=ro", uri=True)
    counts = [reader.execute("SELECT count(*) FROM generations").fetchone()[0]]
    index.reset()
    counts += reader.execute("SELECT count(*) FROM generations").fetchone()
    index.upsert_many([lake(1)])
    counts += reader.execute("SELECT count(*) FROM generations").fetchone()
    reader.close()
    assert (counts, index.verify()) == ([3, 0, 1], [])


def test_seed_column_and_its_text(index: Index) -> None:
    """A seed that SQLite's integers cannot hold is NULL beside its exact text."""
    index.upsert_many([lake(1, seed=2**63 - 1), lake(2, seed=2**63), lake(3, seed=None)])
    reader = sqlite3.connect(index.path)
    rows = reader.execute("SELECT seed, seed_text FROM generations ORDER BY key").fetchall()
    reader.close()
    assert rows == [(2**63 - 1, str(2**63 - 1)), (None, str(2**63)), (None, None)]


WRITES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x", "y z"]), st.booleans()), max_size=12)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(WRITES)
def test_full_text_stays_true(index: Index, writes: list[tuple[str, str, bool]]) -> None:
    """Whatever is written, changed and deleted, the full-text tables agree with the rows, word by word."""
    for name, words, kept in writes:
        if kept:
            index.upsert_many([lake(1, key=name, prompt=f"{name} {words}", tags=tuple(words.split()))])
        else:
            index.delete([name])
    assert index.verify() == []
