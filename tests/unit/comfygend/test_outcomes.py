"""Outcomes: what is missing of a prompt that ended well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfygen.comfyui_client import OutputRef, Result
from comfygen.errors import OutputMissing
from comfygend.outcomes import CachedOutputsGone, PartialOutputs, check_outputs, explained, timings_of
from tests import making

PLAN = making.plan()
SAVER = PLAN.output_nodes[0]
TWO = replace(PLAN, output_nodes=(SAVER, "99"), graph={**PLAN.graph, "99": {"class_type": "SaveImage", "inputs": {}}})


def result(*nodes: str, cached: bool = False, started: int | None = 1000, finished: int | None = 2500) -> Result:
    """A run in which these nodes saved a file."""
    outputs = tuple(OutputRef(node=node, key="images", index=0, filename=f"{node}.png") for node in nodes)
    return Result(
        prompt_id="p",
        status="success",
        outputs=outputs,
        execution_cached=cached,
        started=started,
        finished=finished,
    )


def test_a_run_that_saved_everything_is_whole() -> None:
    """Nodes of which nobody expected anything may have saved something as well."""
    check_outputs(PLAN, result(SAVER, "12"))


def test_a_node_that_saved_nothing_while_another_did_is_named() -> None:
    """With its class; it may get better."""
    with pytest.raises(PartialOutputs, match=r"node 99 \(SaveImage\) saved nothing") as caught:
        check_outputs(TWO, result(SAVER))
    assert (caught.value.code, caught.value.retryable, bool(caught.value.hint)) == ("partial_outputs", True, True)


def test_a_graph_whose_savers_were_rewritten_is_not_partial() -> None:
    """A server may replace classes and number the nodes anew: then nobody knows what to expect."""
    check_outputs(PLAN, result("other"))


@pytest.mark.parametrize(("cached", "code"), [(True, "cached_outputs_gone"), (False, "output_missing")])
def test_a_run_without_outputs_is_told_apart_by_its_cache(cached: bool, code: str) -> None:
    """Each with a hint."""
    with pytest.raises(OutputMissing) as caught:
        check_outputs(PLAN, result(cached=cached))
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)


def test_a_file_that_is_gone_is_explained_by_the_cache() -> None:
    """It is that of an earlier run, which somebody has deleted."""
    error = explained(OutputMissing("a.png is gone."), result(SAVER, cached=True))
    assert isinstance(error, CachedOutputsGone)
    assert "a.png is gone." in error.message
    assert explained(OutputMissing("a.png is gone."), result(SAVER)).code == "output_missing"


def test_times_are_those_of_the_servers_clock() -> None:
    """None, where it has none, or one of no year that we know."""
    assert timings_of(result(SAVER))["run_seconds"] == 1.5
    assert timings_of(result(SAVER, started=None)) == {}
    assert timings_of(result(SAVER, started=10**30)) == {}
