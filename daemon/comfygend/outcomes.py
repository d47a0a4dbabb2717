"""Outcomes: what a prompt that ended well has left behind, and what is missing of it."""

from __future__ import annotations

from datetime import UTC, datetime

from comfygen.comfyui_client import Result
from comfygen.errors import OutputMissing
from comfygen.graph import class_of
from comfygen.plan import Plan

AGAIN = "It is generated again under another file name."


class PartialOutputs(OutputMissing):
    """Some nodes saved their files, and others did not."""

    code = "partial_outputs"


class CachedOutputsGone(OutputMissing):
    """ComfyUI served the prompt from its cache, and the files of the earlier run are gone."""

    code = "cached_outputs_gone"


def check_outputs(plan: Plan, result: Result) -> None:
    """Raise OutputMissing when a prompt that ended well saved nothing, or less than its plan says."""
    if not result.outputs and result.execution_cached:
        raise CachedOutputsGone("ComfyUI served the prompt from its cache, without any file.", hint=AGAIN)
    if not result.outputs:
        hint = "ComfyUI served it from its cache, or the workflow saves nothing."
        raise OutputMissing("The prompt ended without any output.", hint=hint)
    saved = {output.node for output in result.outputs}
    missing = [node for node in plan.output_nodes if node in plan.graph and node not in saved]
    if missing and saved & set(plan.output_nodes):
        names = ", ".join(f"node {node} ({class_of(plan.graph, node)})" for node in missing)
        hint = "ComfyUI may have dropped a branch it could not use: run the workflow there, and look at that node."
        raise PartialOutputs(f"{names} saved nothing, while other nodes did.", hint=hint)


def explained(error: OutputMissing, result: Result) -> OutputMissing:
    """What a file that is gone or broken means: one of an earlier run, when all came from the cache."""
    if not result.execution_cached:
        return OutputMissing(error.message, hint=error.hint or AGAIN)
    message = f"ComfyUI served the prompt from its cache, and a file of the earlier run is gone: {error.message}"
    return CachedOutputsGone(message, hint=AGAIN)


def timings_of(result: Result) -> dict[str, object]:
    """When the prompt ran by the server's clock, and for how long."""
    if result.started is None or result.finished is None:
        return {}
    try:
        moments = {"started_at": _moment(result.started), "finished_at": _moment(result.finished)}
    except (ValueError, OverflowError, OSError):
        return {}  # a clock of no year that we know
    return moments | {"run_seconds": round((result.finished - result.started) / 1000, 3)}


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
