"""The progress of a prompt, computed from recorded messages."""

from __future__ import annotations

from typing import Any

import pytest

from comfygen.comfyui_client import Progress
from comfygen.comfyui_client.progress import ProgressTracker, announces_end
from tests.replay import graph, messages

RUN = "11111111-2222-4333-8444-555555555555"


def _followed(name: str, nodes: list[str], *, without: str = "") -> list[Progress]:
    tracker = ProgressTracker(RUN, nodes)
    seen: list[Progress] = []
    for message in messages(name):
        if message["type"] != without and tracker.take(message["type"], message["data"]):
            seen.append(tracker.progress)
    return seen


@pytest.mark.parametrize("version", ["v0.28.1", "v0.3.64"])
@pytest.mark.parametrize("without", ["", "progress_state"])
def test_a_recorded_run_only_goes_forward(version: str, without: str) -> None:
    """With and without `progress_state`, nodes done never shrink and end at the size of the graph."""
    done = [p.nodes_done for p in _followed(f"{version}/02-prompt-success", list("1234567"), without=without)]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 7)


def test_the_sampler_tells_its_steps() -> None:
    """While node 5 samples, step and steps are those of the sampler."""
    steps = [p for p in _followed("v0.28.1/02-prompt-success", list("1234567")) if p.node == "5" and p.max == 2]
    assert [(p.value, p.nodes_done, p.nodes_total) for p in steps] == [(1, 4, 7), (2, 4, 7), (2, 5, 7)]


def test_cached_nodes_do_not_count() -> None:
    """Where four of seven nodes are cached, three are to be run."""
    tracker = ProgressTracker("p", list("1234567"))
    tracker.take("execution_cached", {"nodes": ["1", "2", "3", "4"]})
    assert (tracker.progress.nodes_done, tracker.progress.nodes_total) == (0, 3)


def test_an_unknown_graph_is_counted_as_it_shows() -> None:
    """For a prompt of an earlier process the nodes seen so far stand for the graph."""
    tracker = ProgressTracker("p")
    for node in ("1", "2"):
        tracker.take("executing", {"node": node})
    assert (tracker.progress.nodes_done, tracker.progress.nodes_total) == (1, 2)


def test_nodes_that_a_node_expands_into_do_not_count() -> None:
    """Progress is measured by the posted graph."""
    tracker = ProgressTracker("p", ["1", "2"])
    tracker.take("progress_state", {"nodes": {"1.0.0.7": {"state": "finished", "value": 1, "max": 1}}})
    assert (tracker.progress.nodes_done, tracker.progress.nodes_total) == (0, 2)


@pytest.mark.parametrize(
    "data",
    [{}, {"nodes": None}, {"nodes": {"1": None}}, {"nodes": 3, "node": 7, "value": "x", "max": []}, {"value": True}],
)
@pytest.mark.parametrize("kind", ["progress", "progress_state", "executing", "execution_cached", "nonsense"])
def test_malformed_messages_change_nothing(kind: str, data: dict[str, Any]) -> None:
    """A lying socket cannot break the count."""
    tracker = ProgressTracker("p", list(graph("flux-dev")))
    tracker.take(kind, data)
    assert tracker.progress == Progress(prompt_id="p", nodes_total=7)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("execution_success", {}, True),
        ("execution_error", {}, True),
        ("execution_interrupted", {}, True),
        ("executing", {"node": None}, True),
        ("executing", {"node": "5"}, False),
        ("executing", {}, False),
        ("executed", {"node": "7"}, False),
    ],
)
def test_the_end_is_announced(kind: str, data: dict[str, Any], expected: bool) -> None:
    """Three messages end a prompt, and so does `executing` of no node."""
    assert announces_end(kind, data) is expected
