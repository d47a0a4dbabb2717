"""Dropping requests from the command line: whole, under a name of their own, into a folder or a bucket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comfygen.cli.submit.names import tame
from comfygen.cli.submit.places import BucketPlace, FolderPlace
from comfygen.errors import InboxError
from comfygend.inbox.names import is_request_name
from tests.integration.minio_stage import Stage, set_stage


@pytest.fixture
def folder(tmp_path: Path) -> FolderPlace:
    for name in ("work", "done", "failed"):
        (tmp_path / name).mkdir()
    return FolderPlace(folder=tmp_path)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with set_stage(prefix="", attempts=3) as made:
        yield made


def bucket(stage: Stage) -> BucketPlace:
    return BucketPlace(store=stage.store, prefix="requests/")


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lake.yaml", "lake.yaml"),
        ("two words.v2.yml", "two words.v2.yml"),
        ("grüße.json", "grüße.json"),
        (".hidden.yaml", "hidden.yaml"),
        ("~$lake.yaml", "$lake.yaml"),
        ("lake.example.yaml", "lake-example.yaml"),
        ("lake.Result.JSON", "lake-Result.JSON"),
        ("a\\b\t👩\u200d🚀.yaml", "a_b_👩_🚀.yaml"),
        ("caf\udce9.yaml", "caf_.yaml"),
        ("..yaml", "request.yaml"),
    ],
)
def test_a_name_is_one_that_every_inbox_takes(name: str, expected: str) -> None:
    """Else a request would lie there for ever, and whoever waits for it would wait as long."""
    assert tame(name) == expected
    assert is_request_name(tame(name))


def test_a_long_name_is_cut_between_characters() -> None:
    """With an id before it and a report's ending behind it, it is still a file name."""
    assert tame(f"{'ä' * 200}.yaml") == f"{'ä' * 90}.yaml"


# -- a folder ---------------------------------------------------------------------------------------------------------


async def test_a_file_appears_whole(folder: FolderPlace) -> None:
    """And nothing beside it."""
    assert await folder.drop("lake.yaml", b"prompt: a lake\n")
    assert {path.name for path in folder.folder.iterdir()} == {"lake.yaml", "work", "done", "failed"}
    assert (folder.folder / "lake.yaml").read_bytes() == b"prompt: a lake\n"


@pytest.mark.parametrize(
    "there", ["lake.yaml", "work/r1__lake.yaml", "done/lake.yaml.result.json", "failed/lake.yaml.error.json"]
)
async def test_a_name_is_taken_wherever_its_request_is(folder: FolderPlace, there: str) -> None:
    """Waiting, running or ended: else one would be told of the other's results."""
    (folder.folder / there).write_bytes(b"{}")
    assert not await folder.drop("lake.yaml", b"x")


async def test_of_many_at_once_one_gets_the_name(folder: FolderPlace) -> None:
    """Nobody's request is overwritten."""
    won = await asyncio.gather(*(folder.drop("lake.yaml", str(n).encode()) for n in range(20)))
    assert won.count(True) == 1
    assert (folder.folder / "lake.yaml").read_bytes() == str(won.index(True)).encode()


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(InboxError, match=r"cannot be written: No such file.*first start"):
        await FolderPlace(folder=tmp_path / "nowhere").drop("lake.yaml", b"x")


async def test_reports_are_found_in_both_places(folder: FolderPlace) -> None:
    """Once they are there."""
    assert await folder.report("lake.yaml") is None
    (folder.folder / "failed/lake.yaml.error.json").write_bytes(b"{}")
    assert await folder.report("lake.yaml") == b"{}"


# -- a bucket ---------------------------------------------------------------------------------------------------------


async def test_an_object_is_put_where_there_is_none(stage: Stage) -> None:
    """Also one with the same content is somebody's own request."""
    assert await bucket(stage).drop("lake.yaml", b"x")
    assert not await bucket(stage).drop("lake.yaml", b"x")
    assert (await stage.store.head("requests/lake.yaml")).content_type == "application/yaml"


async def test_a_name_of_an_ended_request_is_taken(stage: Stage) -> None:
    """Its report is not ours."""
    await stage.plain("requests/done/lake.yaml.result.json", b"{}")
    assert not await bucket(stage).drop("lake.yaml", b"x")
    assert await bucket(stage).report("lake.yaml") == b"{}"


async def test_a_lost_acknowledgement_is_no_other_request(stage: Stage) -> None:
    """The repeated PUT meets our own object."""
    stage.double.knobs.lost_ack("PutObject", "requests/*")
    assert await bucket(stage).drop("lake.yaml", b"x")
    assert await stage.keys("requests/") == ["requests/lake.yaml"]


async def test_a_server_whose_conditions_are_broken_takes_it_all_the_same(stage: Stage) -> None:
    """RELEASE.2025-09-06 says NoSuchKey to each of them."""
    stage.double.knobs.fail_conditional("404")
    assert await bucket(stage).drop("lake.yaml", b"x")
    assert not await bucket(stage).drop("lake.yaml", b"y")
    assert (await stage.store.get("requests/lake.yaml"))[0] == b"x"
