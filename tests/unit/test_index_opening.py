"""Opening the index: whose file it is, what is mended, what is refused."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from comfygen.errors import HistoryError
from comfygen.generation import Generation
from comfygen.index import Index, IndexBusy, IndexCorrupt, IndexNewer

LAKE = Generation(key="lake.png", timestamp="2026-01-04T01:10:32.000000Z", prompt="a quiet lake")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index with one row, closed."""
    made = tmp_path / "state" / "index.db"
    with closing(Index.open(made)) as index:
        index.upsert_many([LAKE])
    return made


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_pragmas(path: Path) -> None:
    """The file is a ComfyGen index in WAL mode, of the first schema."""
    with closing(sqlite3.connect(path)) as connection:
        found = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "application_id", "user_version")
        ]
    assert found == ["wal", 0x43474931, 1]


def test_opened_again(path: Path) -> None:
    """What was written is there the next time."""
    with closing(Index.open(path)) as index:
        assert index.get("lake.png") == LAKE


def test_checkpoint_empties_the_log(path: Path) -> None:
    """After a checkpoint everything is in the file itself."""
    with closing(Index.open(path)) as index:
        index.upsert_many([Generation(key="sea.png", timestamp=LAKE.timestamp, prompt="a wild sea")])
        index.checkpoint()
        assert path.with_name("index.db-wal").stat().st_size == 0


def test_newer_schema_is_refused(path: Path) -> None:
    """A file of a later version is left alone."""
    run(path, "PRAGMA user_version = 2")
    with pytest.raises(IndexNewer, match=r"newer ComfyGen \(schema 2 > 1\)"):
        Index.open(path)


def test_file_of_another_program_is_refused(tmp_path: Path) -> None:
    """A database that is not ours is left alone."""
    run(tmp_path / "other.db", "CREATE TABLE t (a)")
    with pytest.raises(HistoryError, match="database of another program"):
        Index.open(tmp_path / "other.db")


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The message names the place."""
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match="file cannot be made"):
        Index.open(tmp_path / "file" / "index.db")


MIGRATED_TABLE = "SELECT count(*) FROM sqlite_master WHERE name = 'generations'"


def test_interrupted_migration_leaves_nothing(path: Path, tmp_path: Path) -> None:
    """Migrations are all or nothing, and run again the next time."""
    half = tmp_path / "half.db"
    with closing(sqlite3.connect(half)) as blocker:
        blocker.execute("PRAGMA application_id = 0x43474931")
        blocker.execute("CREATE TABLE sources (blocks)")
    with pytest.raises(HistoryError, match="sources already exists"):
        Index.open(half)
    with closing(sqlite3.connect(half)) as reader:
        assert reader.execute(MIGRATED_TABLE).fetchone()[0] == 0
        reader.execute("DROP TABLE sources")
    with closing(Index.open(half)) as index:
        assert index.count() == 0


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TRIGGER generations_words_insert",
        "DROP TRIGGER generations_letters_update",
        "DROP TABLE generations_letters",
        "INSERT INTO generations_words (generations_words) VALUES ('delete-all')",
    ],
)
def test_full_text_is_mended_at_the_start(path: Path, damage: str) -> None:
    """Triggers or entries that some tool has dropped come back, and search finds everything again."""
    run(path, damage)
    with closing(Index.open(path)) as index:
        index.upsert_many([Generation(key="sea.png", timestamp=LAKE.timestamp, prompt="a quiet sea")])
        found = (len(index.search("quiet")), len(index.contains("quie")), index.verify())
    assert found == (2, 2, [])


def test_vacuum_keeps_search_true(path: Path) -> None:
    """VACUUM by hand does not renumber the rows under the full-text tables."""
    run(path, "DELETE FROM generations")
    with closing(Index.open(path)) as index:
        index.upsert_many([LAKE])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    with closing(Index.open(path)) as index:
        assert (index.search("lake"), index.verify()) == ([LAKE], [])


def flip_pages(path: Path) -> None:
    """Overwrite the head of every page but the first."""
    body = bytearray(path.read_bytes())
    for start in range(4096, len(body), 4096):
        body[start : start + 64] = b"\xa5" * 64
    path.write_bytes(body)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def replace_by_text(path: Path) -> None:
    path.write_text("this was a database once " * 400)


@pytest.mark.parametrize("damage", [flip_pages, cut, replace_by_text])
def test_damage_is_recognised_and_recreated(path: Path, damage: Callable[[Path], None]) -> None:
    """A damaged file says so, and can be made anew."""
    damage(path)
    with pytest.raises(IndexCorrupt, match="rebuilt from the store") as caught:
        Index.open(path)
    with closing(Index.recreate(path)) as index:
        state = (caught.value.code, index.count(), index.upsert_many([LAKE]), index.verify())
    assert state == ("index_corrupt", 0, 1, [])


def test_recreation_is_seen_by_open_readers(path: Path) -> None:
    """As long as the file is a database at all, it is emptied in place: nobody has to open it anew."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        before = reader.execute("SELECT count(*) FROM generations").fetchone()[0]
        flip_pages(path)
        Index.recreate(path).close()
        after = reader.execute("SELECT count(*) FROM generations").fetchone()[0]
    assert (before, after) == (1, 0)


def test_damage_while_open(path: Path) -> None:
    """Damage that shows up later is IndexCorrupt, too, whatever is asked."""
    with closing(Index.open(path)) as index:
        run(path, "INSERT INTO problems VALUES ('x', '', '')")  # so that the pages it has in memory are out of date
        flip_pages(path)
        with pytest.raises(IndexCorrupt):
            index.get("lake.png")


def test_locked_by_another_writer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock held by somebody else is an error that may be tried again."""
    monkeypatch.setattr("comfygen.index.opening.PRAGMAS", ("PRAGMA busy_timeout = 1",))
    with closing(Index.open(path)) as index, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexBusy) as caught:
            index.upsert_many([Generation(key="sea.png", timestamp=LAKE.timestamp, prompt="")])
    assert caught.value.retryable


def test_failed_write_changes_nothing(path: Path) -> None:
    """A write is all or nothing, and the index can be used afterwards."""
    bad = Generation(key="bad.png", timestamp=LAKE.timestamp, prompt=None)  # type: ignore[arg-type]
    with closing(Index.open(path)) as index:
        with pytest.raises(HistoryError, match="NOT NULL"):
            index.upsert_many([Generation(key="sea.png", timestamp=LAKE.timestamp, prompt=""), bad])
        assert (index.count(), index.upsert_many([LAKE])) == (1, 0)


def test_two_openers_at_once(tmp_path: Path) -> None:
    """Whoever comes second finds a whole index, however close it was."""
    failures: list[HistoryError] = []

    def opened() -> None:
        try:
            Index.open(tmp_path / "index.db").close()
        except HistoryError as error:
            failures.append(error)

    threads = [threading.Thread(target=opened) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
