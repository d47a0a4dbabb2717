"""History entries as results, on what real servers wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfygen.comfyui_client import OutputRef, Result
from comfygen.comfyui_client.results import execution_error, is_out_of_memory, read_history, read_outputs
from comfygen.errors import ExecutionFailed, OutOfMemory, PromptInterrupted
from tests.replay import histories


def _results(name: str) -> list[Result]:
    entries = histories(name)
    results = [read_history(entries, prompt) for prompt in entries]
    return [result for result in results if result is not None]


def _files(result: Result) -> list[str]:
    return [output.filename for output in result.outputs]


def test_a_finished_run_becomes_a_result() -> None:
    """Status, output and times of a recorded run are read."""
    (result,) = _results("v0.28.1/02-prompt-success")
    expected = Result(
        prompt_id="11111111-2222-4333-8444-555555555555",
        status="success",
        outputs=(OutputRef(node="7", key="images", index=0, filename="sd15_00001_.png", subfolder="cg"),),
        started=1795418755835,
        finished=1795418756678,
    )
    assert result == expected


def test_an_empty_history_is_no_result() -> None:
    """`{}` is the answer for an unknown, pending, running or deleted prompt alike."""
    assert read_history({}, "p") is None


def test_previews_are_no_outputs() -> None:
    """The recorded run saved one file and previewed another, which is temporary."""
    first, *_ = _results("v0.28.1/03-rerun-cached")
    assert _files(first) == ["sd15_00001_.png"]


@pytest.mark.parametrize("version", ["v0.28.1", "v0.9.2"])
def test_a_run_served_from_the_cache_says_so(version: str) -> None:
    """The second, identical graph was cached as a whole; one with another prefix was not."""
    first, second, third, fourth, *_ = _results(f"{version}/03-rerun-cached")
    cached = [result.execution_cached for result in (first, second, third, fourth)]
    assert cached == [False, True, True, False]


def test_every_saver_node_is_read() -> None:
    """All kinds of files count, under whatever key a node puts them, a batch in its order."""
    kinds = {name.rpartition(".")[2] for result in _results("v0.28.1/08-outputs") for name in _files(result)}
    assert kinds == {"png", "webp", "webm", "mp4", "latent"}


def test_texts_are_kept_apart() -> None:
    """A text node yields text and no file."""
    texts = [result.texts for result in _results("v0.28.1/08-outputs") if result.texts]
    assert texts == [("hello",)]


def test_wan_videos_are_outputs() -> None:
    """Every recorded two-stage Wan run ended with one file, of whatever kind its saver makes."""
    names = [_files(result) for result in _results("v0.28.1/08b-wan22")]
    assert {(len(files), files[0].rpartition(".")[2]) for files in names} == {(1, "mp4"), (1, "webm"), (1, "webp")}


def test_videohelpersuite_files_are_outputs() -> None:
    """`gifs` hold videos with their format; temporary ones and websocket images leave no output."""
    results = _results("v0.28.1/08c-videohelpersuite")
    found = [[(output.key, output.format) for output in result.outputs] for result in results]
    expected = [
        [("gifs", "video/h264-mp4")],
        [],
        [("gifs", "image/gif")],
        [("gifs", "image/webp")],
        [("gifs", "video/h264-mp4")],
        [],
    ]
    assert found == expected


def test_the_companion_picture_of_a_video_is_no_output() -> None:
    """A node that lists the png beside its video lists a carrier of metadata."""
    video = {"filename": "a.mp4", "subfolder": "", "type": "output", "workflow": "a.png"}
    listed = {"9": {"gifs": [video, {"filename": "a.png", "subfolder": "", "type": "output"}]}}
    assert [output.filename for output in read_outputs(listed)] == ["a.mp4"]


def test_outputs_come_in_the_order_of_their_nodes() -> None:
    """Node 9 comes before node 10, and a subgraph's nodes by their parts."""
    entry = {"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]}
    outputs = read_outputs({"57:10": entry, "10": entry, "57:9": entry, "save": entry, "9": entry})
    assert [output.node for output in outputs] == ["9", "10", "57:9", "57:10", "save"]


def test_a_file_listed_twice_by_a_node_counts_once() -> None:
    """Some nodes list the same file under two keys."""
    image = {"filename": "x.png", "subfolder": "", "type": "output"}
    outputs = read_outputs({"9": {"images": [image, {**image, "filename": "y.png"}], "gifs": [image]}})
    assert [(output.key, output.index) for output in outputs] == [("images", 0), ("images", 1)]


@pytest.mark.parametrize("outputs", [None, [], {"9": None}, {"9": {"images": None}}, {"9": {"images": [None, 3, {}]}}])
def test_malformed_outputs_are_passed_over(outputs: object) -> None:
    """A cached node may have null for its output, and custom nodes write what they like."""
    assert read_outputs(outputs) == ()


def test_a_failed_run_names_node_class_and_reason() -> None:
    """The error of the recorded corrupt checkpoint says where it happened and why."""
    (first, *_) = _results("v0.28.1/05a-execution-error")
    assert isinstance(first.error, ExecutionFailed)
    told = (first.status, first.error.node_id, first.error.node_type, first.error.exception_type)
    assert told == ("error", "1", "CheckpointLoaderSimple", "safetensors._safetensors_rust.SafetensorError")
    assert "node 1 (CheckpointLoaderSimple) failed" in first.error.message


def test_a_failed_run_keeps_what_it_saved_before() -> None:
    """Of two branches one had saved its picture before the other failed."""
    failed = [result for result in _results("v0.28.1/05a-execution-error") if result.error is not None]
    assert [_files(result) for result in failed if result.outputs] == [["ok_00001_.png"]]


def test_dumped_tensors_are_not_kept() -> None:
    """`current_inputs` can be tens of kilobytes; of the traceback only the tail stays."""
    errors = [result.error.to_json() for result in _results("v0.28.1/05a-execution-error") if result.error]
    assert "tensor(" not in json.dumps(errors)
    assert max(len(error["traceback"]) for error in errors) == 5


def test_long_messages_are_cut() -> None:
    """An exception text without bounds does not travel on without bounds."""
    error = execution_error({"node_id": "1", "exception_message": "x" * 100_000, "traceback": ["y" * 100_000] * 50})
    assert len(json.dumps(error.to_json())) < 15_000


def test_an_interrupted_run_is_no_failure() -> None:
    """Its status is "error" as well; only the messages tell the difference."""
    statuses = {(result.status, type(result.error)) for result in _results("v0.28.1/05b-interrupt")}
    assert statuses == {("interrupted", PromptInterrupted)}


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("torch.OutOfMemoryError", "Allocation on device", True),
        ("torch.cuda.OutOfMemoryError", "", True),
        ("RuntimeError", "CUDA out of memory. Tried to allocate 20.00 MiB", True),
        ("RuntimeError", "MPS backend out of memory", True),
        ("MemoryError", "", True),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", True),
        ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_out_of_memory_is_recognised(kind: str, message: str, expected: bool) -> None:
    """Whatever device ran out, by its exception or by its words."""
    assert is_out_of_memory(kind, message) is expected


def test_out_of_memory_is_an_error_of_its_own() -> None:
    """It can be retried, unlike other failures of a node."""
    event = {"node_id": "5", "node_type": "KSampler", "exception_type": "torch.OutOfMemoryError"}
    error = execution_error({**event, "exception_message": "Allocation on device"})
    assert (type(error), error.retryable, error.node_id) == (OutOfMemory, True, "5")


@pytest.mark.parametrize(
    ("entry", "status"),
    [({}, "success"), ({"status": None}, "success"), (None, "success"), ({"status": {"status_str": "error"}}, "error")],
)
def test_a_bare_entry_is_still_a_result(entry: Any, status: str) -> None:
    """A history entry without messages ended; it failed only if it says so."""
    result = read_history({"p": entry}, "p")
    assert result is not None
    assert result.status == status
