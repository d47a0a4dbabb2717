"""README and docs cannot rot: what they show is parsed and run, what there is stands in them, links lead somewhere."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click
import pytest

from comfygen.cli import EXIT_CODES
from comfygen.config import Config, load_config
from comfygen.documents import load_documents
from comfygen.errors import ComfyGenError
from comfygen.index import Index
from comfygen.index.schema import COLUMNS
from comfygen.minio_client import Listening
from comfygen.pipeline import Kitchen, prepare, seeds
from comfygen.presets import parse_presets
from comfygen.request import KEYS, parse_requests
from comfygen.resources import Library
from comfygen.sidecar import CLASSIC_KEYS, Sidecar
from comfygend.ledger import Ledger
from comfygend.reloading import SAFE
from tests.doc_pages import Block, anchors, blocks, calls, links, prose
from tests.doc_tables import ROOT, SAMPLES, TABLES, commands, config_keys, documents, filled, presets, sample_keys
from tests.making import picture

PAGES = documents()
BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = commands()
ORDINARY = {"cat", "cp", "curl", "export", "ls", "mc", "minio", "mkdir", "mv", "nano", "sed", "source", "sqlite3"}
SYSTEM = {"systemctl", "useradd", "install", "python3", "/opt/comfygen/bin/pip", ".venv/bin/python"}
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


class Pictures:
    """Input images: every name is a picture."""

    async def read(self, reference: str) -> bytes:
        return picture()

    async def keep(self, name: str, content: bytes) -> None:
        """Nothing has to be kept for a plan."""

    def holding(self) -> AbstractContextManager[None]:
        return nullcontext()


def of(*languages: str) -> list[Block]:
    """All blocks in these languages."""
    return [block for block in BLOCKS if block.language in languages]


def kind(block: Block) -> str:
    """What a YAML block is: a request, presets or a configuration."""
    first = load_documents(block.text.encode(), file=str(block))[0].value
    assert isinstance(first, dict), block
    if set(first) <= set(KEYS):
        return "request"
    return "presets" if any(isinstance(first.get(key), dict) for key in ("presets", "lora_presets")) else "config"


def page(name: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def in_code(name: str) -> set[str]:
    """Everything that a page names in backticks outside its blocks."""
    return set(re.findall(r"`([^`\n]+)`", prose(ROOT / "docs" / name)))


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_every_yaml_block_can_be_used(block: Block, tmp_path: Path) -> None:
    """A reader can copy each of them: requests, presets, configurations."""
    text = block.text.encode()
    match kind(block):
        case "request":
            assert parse_requests(text, file=str(block))
        case "presets":
            found = parse_presets(text, file=str(block))
            assert found.presets or found.lora_presets
        case _:
            (tmp_path / "comfygen.yaml").write_bytes(text)
            assert isinstance(load_config(tmp_path / "comfygen.yaml", {}), Config)


@pytest.mark.parametrize("block", [block for block in of("yaml") if kind(block) == "request"], ids=str)
async def test_every_request_block_can_be_planned(block: Block) -> None:
    """Its workflow, presets and LoRAs exist, and every key has a place in the graph."""
    kitchen = Kitchen(library=Library(), inputs=Pictures())
    assert await prepare(block.text.encode(), file=str(block), kitchen=kitchen, draw=seeds("docs"))


@pytest.mark.parametrize("block", of("json", "python"), ids=str)
def test_json_and_python_blocks_parse(block: Block) -> None:
    """They are whole."""
    assert json.loads(block.text) if block.language == "json" else ast.parse(block.text).body


def test_the_python_block_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The library can be used as the architecture page shows it."""
    monkeypatch.chdir(ROOT)
    for block in of("python"):
        exec(compile(block.text, str(block), "exec"), {})
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [["7", "10"], ["8", "10"]]


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """An empty index.db, with an empty queue.db attached."""
    folder = tmp_path_factory.mktemp("databases")
    Index.open(folder / "index.db").close()
    Ledger.open(folder / "queue.db").close()
    connection = sqlite3.connect(folder / "index.db")
    connection.execute("attach ? as queue", [str(folder / "queue.db")])
    yield connection
    connection.close()


@pytest.mark.parametrize("block", of("sql"), ids=str)
def test_every_query_runs(block: Block, databases: sqlite3.Connection) -> None:
    """Tables and columns are named as they are."""
    assert databases.execute(block.text).fetchall() == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_tables_are_those_of_the_code(path: Path) -> None:
    """Keys, options, presets, workflows, queries, faults and errors: `python -m tests.doc_tables` writes them anew."""
    text = path.read_text(encoding="utf-8")
    assert filled(text) == text, "run: .venv/bin/python -m tests.doc_tables"


def test_every_table_has_its_place() -> None:
    """None of them is forgotten, and none stands twice."""
    marks = [mark for path in PAGES for mark in re.findall(r"<!-- table: ([a-z-]+) -->", path.read_text("utf-8"))]
    assert sorted(marks) == sorted(TABLES)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    """Files and headings that links name exist."""
    for link in links(path):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("block", of("console"), ids=str)
def test_every_command_exists(block: Block) -> None:
    """Verbs, options and make targets of transcripts are there; the other programs are ones that everybody has."""
    for words in calls(block):
        if words[0] == "make":
            assert set(words[1:2]) <= TARGETS, words
        elif words[0].startswith("comfygen"):
            assert_callable(words)
        else:
            assert words[0] in ORDINARY | SYSTEM, words


def assert_callable(words: list[str]) -> None:
    """A call of ours names a command, and options that it has."""
    named = [name for name in COMMANDS if words[: len(name.split())] == name.split()]
    assert len(named) == 1, words
    known = {option for each in COMMANDS[named[0]].params if isinstance(each, click.Option) for option in each.opts}
    assert {word for word in words if word.startswith("--")} <= known, words


def test_the_samples_are_whole(tmp_path: Path) -> None:
    """Both sample configurations can be used, and together they show every key."""
    for sample in SAMPLES:
        assert isinstance(load_config(sample, {}), Config)
    assert sorted(sample_keys()) == sorted(key for key, _, _ in config_keys())


def test_reloadable_keys_are_keys() -> None:
    """What the table marks as changeable while the service runs is what the service takes over."""
    assert set(SAFE) == set(re.findall(r"\| `([\w.]+)` \| [^|]*†", page("configuration.md")))


def test_the_sidecar_page_names_every_key_in_order() -> None:
    """The 13 classic keys, and all others."""
    rows = re.findall(r"^\| `(\w+)` \|", page("sidecar.md"), re.MULTILINE)
    assert rows == list(Sidecar.__dataclass_fields__)
    assert tuple(rows[:13]) == CLASSIC_KEYS


def test_the_sidecar_example_has_every_key() -> None:
    """But the graph, as the page says."""
    [block] = [block for block in of("json") if block.page == "sidecar.md"]
    assert list(json.loads(block.text)) == [name for name in Sidecar.__dataclass_fields__ if name != "graph"]


def test_the_history_page_names_every_column() -> None:
    """Of `generations`."""
    assert set(COLUMNS) - in_code("history.md") == set()


def test_the_storage_page_names_every_state_and_key() -> None:
    """The states of notifications, and the keys of the store."""
    assert {str(state) for state in Listening} - in_code("storage.md") == set()
    assert {"store.policy", "store.notifications", "store.webhook_token"} <= in_code("storage.md")


def test_exit_codes_are_told() -> None:
    """Every code that the command line gives has its row."""
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", page("results.md"), re.MULTILINE)}
    assert {0, 1, 2, 75, *EXIT_CODES.values()} == rows


def test_examples_use_presets_that_exist() -> None:
    """Every preset is named outside its own table too, or it is in it."""
    assert set(presets().presets) | set(presets().lora_presets) <= in_code("presets-and-loras.md")


def test_the_first_screen_of_the_readme() -> None:
    """Three sentences, a request file, a shell transcript, one SQL query; then where to read on."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [first, second, third, *_] = blocks(ROOT / "README.md")
    assert [first.language, second.language, third.language] == ["yaml", "console", "sql"]
    assert third.line <= 35
    assert readme.split("```")[0].count(".\n") + readme.split("```")[0].count(". ") == 3
    assert len(readme.splitlines()) <= 150
    assert {f"docs/{path.name}" for path in PAGES if path.parent.name == "docs"} <= set(links(ROOT / "README.md"))


def test_the_readme_sets_up_with_two_commands() -> None:
    """And both are targets of the Makefile."""
    shown = [words for block in blocks(ROOT / "README.md") if block.language == "console" for words in calls(block)]
    assert [words for words in shown if words[0] == "make"] == [["make", "demo"], ["make", "test"]]


def test_the_changelog_is_kept() -> None:
    """What is not released yet stands on top."""
    assert re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[0] == "[Unreleased]"


@pytest.mark.parametrize("path", sorted((ROOT / "requests").glob("*.example.yaml")), ids=lambda path: path.name)
def test_example_requests_can_be_used(path: Path) -> None:
    """The examples in the inbox are requests."""
    try:
        assert parse_requests(path.read_bytes(), file=path.name)
    except ComfyGenError as error:
        pytest.fail(str(error))
