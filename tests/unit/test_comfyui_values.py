"""What ComfyUI says, as values."""

from __future__ import annotations

import pytest

from comfygen.comfyui_client import Progress, PromptState, QueueState, Server
from comfygen.comfyui_client.shapes import as_list, as_mapping, as_number, as_text
from tests.replay import recording


def _recorded(name: str, path: str) -> object:
    return next(event["response_json"] for event in recording(name)["events"] if event.get("path") == path)


@pytest.mark.parametrize(("version", "os"), [("v0.28.1", "linux"), ("v0.3.64", "posix")])
def test_system_stats_become_a_server(version: str, os: str) -> None:
    """Version, system and devices of a recorded server are read, and it is no simulator."""
    server = Server.from_json(_recorded(f"{version}/01-server-info", "/system_stats"))
    expected = Server(version=version[1:], os=os, devices=("cpu",))
    assert server == expected


@pytest.mark.parametrize("body", [{"system": {"simulated": True}}, {"simulated": True}])
def test_a_simulator_says_so(body: object) -> None:
    """A server that calls itself simulated is known as such."""
    assert Server.from_json(body).simulated is True


@pytest.mark.parametrize(
    ("version", "expected"),
    [("0.6.0", True), ("0.28.1", True), ("v1.0", True), ("0.5.9", False), ("", False), ("unknown", False)],
)
def test_versions_compare_number_by_number(version: str, expected: bool) -> None:
    """0.28 is later than 0.6, and an unreadable version counts as older than all."""
    assert Server(version=version).at_least(0, 6, 0) is expected


def test_the_pending_heap_is_sorted_by_number() -> None:
    """`queue_pending` arrives as a heap; the value has it in the order of execution."""
    heap = [[-1, "b", {}, {}, []], [7, "d", {}, {}, []], [3.0, "c", {}, {}, []], [-2, "a", {}, {}, []]]
    queue = QueueState.from_json({"queue_running": [], "queue_pending": heap})
    assert queue.pending == ("a", "b", "c", "d")


def test_a_recorded_queue_tells_what_runs_and_what_waits() -> None:
    """Graphs left out of a recording, or anything else in their place, do not matter."""
    ids = recording("v0.28.1/05c-queue")["ids"]
    queue = QueueState.from_json(_recorded("v0.28.1/05c-queue", "/queue"))
    expected = QueueState(running=(ids["run"],), pending=tuple(ids[f"pend-{n}"] for n in range(4)))
    assert queue == expected


def test_a_queue_knows_the_state_of_its_prompts() -> None:
    """Running and pending are told apart, and a prompt that is in neither list has no state."""
    queue = QueueState(running=("a",), pending=("b",))
    states = [queue.state(prompt) for prompt in ("a", "b", "c")]
    assert states == [PromptState.RUNNING, PromptState.PENDING, None]


def test_the_recorded_dead_worker_is_suspected() -> None:
    """Something pending and nothing running is the sign of a dead worker; an idle or busy server is not."""
    bodies = [
        e["response_json"]
        for e in recording("v0.28.1/02e-same-number-same-id")["events"]
        if e.get("path") == "/queue" and e["method"] == "GET"
    ]
    suspects = [QueueState.from_json(body).dead_worker_suspect for body in bodies]
    assert suspects == [False, False, False, True, True, True]


@pytest.mark.parametrize("body", [None, [], "x", {"queue_running": None, "queue_pending": [[], "x", [None]]}])
def test_a_malformed_queue_is_harmless(body: object) -> None:
    """Whatever arrives, a queue comes of it."""
    assert QueueState.from_json(body).running == ()


def test_progress_weighs_each_node_the_same() -> None:
    """Two of four nodes done and half of the third is five eighths; nonsense stays within 0 and 1."""
    half = Progress(prompt_id="p", value=5, max=10, nodes_done=2, nodes_total=4)
    wild = Progress(prompt_id="p", value=900, max=10, nodes_done=4, nodes_total=4)
    assert [half.fraction, wild.fraction, Progress(prompt_id="p").fraction] == [0.625, 1.0, 0.0]


def test_what_is_not_of_the_expected_shape_reads_as_empty() -> None:
    """Foreign JSON never makes a reader fail."""
    read = [as_mapping([1]), as_list({}), as_text(3), as_number("3"), as_number(True), as_number(float("nan"))]
    assert read == [{}, [], "", None, None, None]
