"""The demo's parts: its ports, its processes, its folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from comfygen.cli.demo.stage import REQUESTS, Stage, car
from comfygen.cli.processes import ProcessEnded, Processes, free_port
from comfygen.images import check_image
from comfygen.request import parse_requests


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(folder=tmp_path)
    made.set(comfyui="http://127.0.0.1:8188", http=8189, history=8001)
    return made


def test_two_demos_at_once_never_choose_the_same_port(tmp_path: Path) -> None:
    """Long before a process of either listens there; afterwards the port may be had again."""
    wanted = free_port()
    with Processes(folder=tmp_path) as one, Processes(folder=tmp_path) as other:
        assert one.port(wanted) == wanted
        assert other.port(wanted) != wanted
    with Processes(folder=tmp_path) as later:
        assert later.port(wanted) == wanted


def test_a_process_that_ends_by_itself_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    """Waiting for it would be in vain."""
    with Processes(folder=tmp_path) as processes:
        processes.start("robot", [sys.executable, "-c", "import sys; sys.exit('the battery is empty')"], os.environ)
        with pytest.raises(ProcessEnded, match=r"robot ended with code 1:\nthe battery is empty"):
            processes.wait_for("the robot", lambda: False)


def test_a_picture_is_replaced_and_never_seen_half_written(stage: Stage) -> None:
    """A service that has just opened it reads it whole, whatever is dropped meanwhile."""
    stage.drop("img2img")
    with (stage.inbox / "car.png").open("rb") as opened:
        stage.drop("video")
        assert opened.read() == car()
    assert (check_image(car()).width, check_image(car()).height) == (640, 480)


def test_the_example_requests_are_dropped_whole_and_can_be_parsed(stage: Stage) -> None:
    """Under names of their own, without anything left beside them."""
    dropped = [stage.drop(name) for name in REQUESTS]
    assert dropped == ["landscape.yaml", "img2img.yaml", "video.yaml"]
    assert sorted(path.name for path in stage.inbox.iterdir()) == sorted([*dropped, "car.png"])
    assert [len(parse_requests((stage.inbox / name).read_bytes(), file=name)) for name in dropped] == [1, 1, 1]


def test_a_request_dropped_again_has_a_new_name(stage: Stage) -> None:
    """The reports of the earlier one stay where they are."""
    (stage.inbox / "done").mkdir()
    (stage.inbox / "done" / "video.yaml").write_text("", encoding="utf-8")
    (stage.inbox / "done" / "video.yaml.result.json").write_text('{"outputs": []}', encoding="utf-8")
    assert stage.drop("video") == "video-2.yaml"
    report = stage.report("video.yaml")
    assert report is not None
    assert (report.ok, stage.report("video-2.yaml")) == (True, None)
