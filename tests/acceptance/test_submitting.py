"""`comfygen submit` and `comfygen reindex` as commands, with a folder and with a bucket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.harness import REQUEST, Buckets, House, house, until
from tests.acceptance.verbs import comfygen

KINDS = pytest.mark.parametrize("kind", ["folder", "bucket"])
BAD = "workflow: flux-dev\nprompt: a car\nsteps: many\n"
NOWHERE = "workflow: nowhere\nprompt: a car\n"


def written(home: House, name: str, text: str) -> Path:
    path = home.folder / name
    path.write_text(text, encoding="utf-8")
    return path


@KINDS
async def test_submit_waits_for_what_it_dropped(tmp_path: Path, kind: str) -> None:
    """Two files of one name, one that fails; each report is printed, and one failure makes the exit code 1."""
    async with house(tmp_path, kind) as (home, _):
        await home.start()
        await until(lambda: "serving" in home.log, "the start")
        (home.folder / "more").mkdir()
        files = [written(home, "lake.yaml", REQUEST), written(home, "more/lake.yaml", REQUEST)]
        code, said, _ = await comfygen("submit", "--config", home.config, "--wait", "--json", *files)
        reports = [json.loads(line) for line in said.splitlines()]
        assert (code, [report["status"] for report in reports]) == (0, ["done", "done"])
        assert len({report["request"] for report in reports}) == 2
        judged = written(home, "judged.yaml", REQUEST + "validate: true\n")
        code, said, _ = await comfygen("submit", "--config", home.config, "--wait", judged)
        assert (code, "judged.yaml: done" in said, "note: " in said) == (0, True, True)
        failing = written(home, "nowhere.yaml", NOWHERE)
        code, said, errors = await comfygen("submit", "--config", home.config, "--wait", failing)
        assert (code, "nowhere.yaml: failed" in said, "dropped nowhere.yaml into" in errors) == (1, True, True)
        assert await home.stop() == 0


@KINDS
async def test_of_files_with_a_mistake_none_is_dropped(tmp_path: Path, kind: str) -> None:
    """Exit code 4, and the line of the mistake."""
    async with house(tmp_path, kind) as (home, _):
        files = [written(home, "lake.yaml", REQUEST), written(home, "bad.yaml", BAD)]
        code, _, errors = await comfygen("submit", "--config", home.config, *files)
        assert (code, "bad.yaml:3" in errors) == (4, True)
        assert home.places.requests() == {}


async def test_whoever_waits_may_give_up(tmp_path: Path) -> None:
    """Exit code 75; the request goes on."""
    async with house(tmp_path, "bucket") as (home, _):
        file = written(home, "lake.yaml", REQUEST)
        code, _, errors = await comfygen("submit", "--config", home.config, "--wait", "--timeout", "0.1", file)
        assert (code, "not all requests have ended" in errors) == (75, True)
        assert list(home.places.requests()) == ["lake.yaml"]


@KINDS
async def test_reindex_makes_the_same_index_in_the_same_file(tmp_path: Path, kind: str) -> None:
    """Rows that should not be there are gone, and the file is not another one."""
    async with house(tmp_path, kind) as (home, _):
        home.drop("lake.yaml", REQUEST + "count: 3\n")
        assert await home.once() == 0
        before, file = home.rows(), home.folder / "state" / "index.db"
        inode = file.stat().st_ino
        code, said, _ = await comfygen("reindex", "--config", home.config)
        assert (code, "3 sidecars in 6 objects: 3 rows" in said) == (0, True)
        assert (home.rows(), file.stat().st_ino) == (before, inode)


async def test_reindex_leaves_the_index_alone_while_it_cannot_be_filled(tmp_path: Path) -> None:
    """The service runs, or the store is away: the exit code says so, and the rows stay."""
    async with house(tmp_path, "bucket") as (home, _):
        home.drop("lake.yaml")
        await home.start()
        await until(lambda: home.reports(), "the result")
        await until(lambda: home.rows("SELECT key FROM generations"), "the row")
        code, _, errors = await comfygen("reindex", "--config", home.config)
        assert (code, "Traceback" in errors) == (3, False)
        assert await home.stop() == 0
        assert isinstance(home.places, Buckets)
        home.places.double.knobs.fail(503)
        code, _, errors = await comfygen("reindex", "--config", home.config)
        assert (code, "503" in errors, "Traceback" in errors) == (3, True, False)
        assert len(home.rows("SELECT key FROM generations")) == 1
