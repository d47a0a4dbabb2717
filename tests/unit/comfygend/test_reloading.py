"""Reloading on SIGHUP: what may change does, what may not waits, and what is broken changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from comfygen.config import Config, LimitsConfig, load_config
from comfygen.resources import Library
from comfygend.board import Board
from comfygend.notify import Notify
from comfygend.reloading import SAFE, Reloading
from tests.unit.comfygend.managing import manager

GUARD = 60


@dataclass
class Desk:
    """A configuration file that can be edited, and who reads it again."""

    file: Path
    applied: list[LimitsConfig] = field(default_factory=list)
    checks: int = 0
    board: Board = field(default_factory=Board)

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def read(self) -> Config:
        return load_config(self.file, {})

    def check(self) -> None:
        self.checks += 1


@asynccontextmanager
async def reloading(desk: Desk, notify: Notify | None = None) -> AsyncIterator[Reloading]:
    """The loop, until the block ends."""
    made = Reloading(
        config=desk.read(),
        read=desk.read,
        apply=desk.applied.append,
        check=desk.check,
        board=desk.board,
        notify=notify or Notify(),
    )
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def reload(made: Reloading, desk: Desk) -> None:
    """Ask, and wait until it is done: the loop waits for nothing in between."""
    checks = desk.checks
    made.asked.set()
    async with asyncio.timeout(GUARD):
        while desk.checks == checks:
            await asyncio.sleep(0)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(file=tmp_path / "comfygen.yaml")
    made.write("limits: {attempts: 3}\n")
    return made


async def test_limits_change_at_once(desk: Desk) -> None:
    """Workflows and presets are looked at, and the new limits applied."""
    async with reloading(desk) as made:
        desk.write("limits: {attempts: 5}\n")
        await reload(made, desk)
    assert [limits.attempts for limits in desk.applied] == [5]
    assert desk.board.troubles == {}


async def test_a_broken_configuration_changes_nothing(desk: Desk) -> None:
    """The service goes on with the one it has, says what is wrong, and is well again when that is mended."""
    async with reloading(desk) as made:
        desk.write("limits: {attempts: many}\n")
        await reload(made, desk)
        assert "limits.attempts" in desk.board.troubles["configuration"].message
        assert desk.applied == []
        desk.write("limits: {attempts: 4}\n")
        await reload(made, desk)
    assert desk.board.troubles == {}
    assert [limits.attempts for limits in desk.applied] == [4]


async def test_other_keys_wait_for_a_restart_and_say_so(desk: Desk) -> None:
    """They are named until they are taken back, or the service is started anew."""
    async with reloading(desk) as made:
        desk.write("limits: {attempts: 4, claim_lease_seconds: 5}\nhttp: 127.0.0.1:1\n")
        await reload(made, desk)
        message = desk.board.troubles["configuration"].message
        assert message == "Changed, but not in use yet: http, limits.claim_lease_seconds."
        assert [limits.attempts for limits in desk.applied] == [4]
        desk.write("limits: {attempts: 4}\n")
        await reload(made, desk)
    assert desk.board.troubles == {}


async def test_the_service_manager_hears_of_a_reload(desk: Desk, tmp_path: Path) -> None:
    """RELOADING with the monotonic time, then READY."""
    with manager(tmp_path / "notify") as heard:
        async with reloading(desk, Notify(address=str(tmp_path / "notify"))) as made:
            await reload(made, desk)
            lines = [await asyncio.to_thread(heard.recv, 200) for _ in range(2)]
    assert lines[0].startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert lines[1] == b"READY=1\nSTATUS=working"


def test_every_key_that_may_change_exists() -> None:
    """A misspelt one would never be noticed."""
    assert {key.removeprefix("limits.") for key in SAFE} <= LimitsConfig.model_fields.keys()


@dataclass
class Shelf:
    """Workflows and presets that can be edited, and what their library tells."""

    folder: Path
    told: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "workflows").mkdir()
        self.presets("presets: {mine: {steps: 4}}\n")
        self.workflow(GRAPH)
        self.library = Library(self.folder / "workflows", self.folder / "presets.yaml", tell=self.tell)
        assert self.library.check() == []

    def tell(self, name: str, error: Any) -> None:
        self.told[name] = error and error.message

    def presets(self, text: str) -> None:
        (self.folder / "presets.yaml").write_text(text, encoding="utf-8")

    def workflow(self, text: str) -> None:
        (self.folder / "workflows" / "mine.json").write_text(text, encoding="utf-8")


GRAPH = """{
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
}"""


def test_a_broken_workflow_keeps_its_last_good_version(tmp_path: Path) -> None:
    """Requests that name it run as before; the library tells what is wrong, and when it is mended."""
    shelf = Shelf(tmp_path)
    good = shelf.library.workflow("mine")
    shelf.workflow("{ broken")
    assert shelf.library.workflow("mine") == good
    assert "mine.json" in str(shelf.told["workflow mine.json"])
    assert len(shelf.library.check()) == 1
    shelf.workflow(GRAPH.replace("a.png", "other.png"))
    assert shelf.library.workflow("mine").graph["1"]["inputs"]["image"] == "other.png"
    assert shelf.told["workflow mine.json"] is None


@pytest.mark.parametrize("broken", ["presets: [", "presets: {mine: {steps: many}}\n", None])
def test_broken_or_missing_presets_keep_their_last_good_version(tmp_path: Path, broken: str | None) -> None:
    """Also when the file is gone."""
    shelf = Shelf(tmp_path)
    if broken is None:
        (tmp_path / "presets.yaml").unlink()
    else:
        shelf.presets(broken)
    assert shelf.library.presets().preset("mine").steps == 4
    assert shelf.told["presets"] is not None
    shelf.presets("presets: {mine: {steps: 14}}\n")
    assert shelf.library.presets().preset("mine").steps == 14
    assert shelf.told["presets"] is None


def test_one_that_was_never_good_harms_only_who_names_it(tmp_path: Path) -> None:
    """It is an error for the request, and no trouble of the service."""
    shelf = Shelf(tmp_path)
    (tmp_path / "workflows" / "new.json").write_text("{ broken", encoding="utf-8")
    assert len(shelf.library.check()) == 1
    assert "workflow new.json" not in shelf.told
