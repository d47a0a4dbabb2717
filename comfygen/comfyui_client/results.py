"""A history entry as a Result: which files, which texts, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from comfygen.comfyui_client.shapes import as_list, as_mapping, as_number, as_text
from comfygen.comfyui_client.values import OutputRef, Result
from comfygen.errors import ComfyUIError, ExecutionFailed, OutOfMemory, PromptInterrupted

Events: TypeAlias = Mapping[str, Mapping[str, Any]]

TRACEBACK_ENTRIES = 5  # the tail: the frames of the node itself
TEXT_LIMIT = 2000  # an exception text can dump whole tensors
LESS_MEMORY = "A smaller size, fewer frames or fewer models would need less memory."
OUT_OF_MEMORY = ("out of memory", "allocation on device", "can't allocate memory", "not enough memory")


def read_history(body: object, prompt_id: str) -> Result | None:
    """The result in a `/history/{id}` answer, or None when the prompt is not in it (the `{}` case)."""
    history = as_mapping(body)
    if prompt_id not in history:
        return None
    entry = as_mapping(history[prompt_id])
    status = as_mapping(entry.get("status"))
    events = _events(status)
    error = _error(status, events)
    return Result(
        prompt_id=prompt_id,
        status=_status(error),
        outputs=read_outputs(entry.get("outputs")),
        texts=tuple(_texts(entry.get("outputs"))),
        execution_cached=_all_cached(entry, events),
        started=_time(events, "execution_start"),
        finished=_time(events, "execution_success", "execution_error", "execution_interrupted"),
        error=error,
    )


def _events(status: Mapping[str, Any]) -> Events:
    """The messages of a status by type; of several alike, the last."""
    pairs = [as_list(message) for message in as_list(status.get("messages"))]
    return {as_text(pair[0]): as_mapping(pair[1]) for pair in pairs if len(pair) == 2}


def _status(error: ComfyUIError | None) -> str:
    if error is None:
        return "success"
    return "interrupted" if isinstance(error, PromptInterrupted) else "error"


def _time(events: Events, *kinds: str) -> int | None:
    times = [as_number(events[kind].get("timestamp")) for kind in kinds if kind in events]
    return next((int(time) for time in times if time is not None), None)


def _all_cached(entry: Mapping[str, Any], events: Events) -> bool:
    asked = as_list(entry.get("prompt"))[4:5]  # where a cached run names no outputs at all, those it was asked for
    producers = {str(node) for node in as_mapping(entry.get("outputs")) or as_list(next(iter(asked), None))}
    cached = {str(node) for node in as_list(events.get("execution_cached", {}).get("nodes"))}
    return bool(producers) and producers <= cached


def _error(status: Mapping[str, Any], events: Events) -> ComfyUIError | None:
    """The error an entry tells of; an interrupted prompt differs from a failed one only by its messages."""
    if (interrupted := events.get("execution_interrupted")) is not None:
        where = _place(as_text(interrupted.get("node_id")), as_text(interrupted.get("node_type")))
        hint = "Somebody stopped it in ComfyUI. To take a job back for good, use `comfygen cancel`."
        return PromptInterrupted(f"The prompt was interrupted at {where}.", hint=hint)
    if (failed := events.get("execution_error")) is not None:
        return execution_error(failed)
    if status.get("status_str") == "error":
        return ExecutionFailed("The prompt failed, and ComfyUI does not say why.", hint="Look into ComfyUI's log.")
    return None


def execution_error(event: Mapping[str, Any]) -> ExecutionFailed:
    """An `execution_error` message as an error; `current_inputs`, which dumps tensors as text, is not kept."""
    node_id, node_type = as_text(event.get("node_id")), as_text(event.get("node_type"))
    kind, text = as_text(event.get("exception_type")), as_text(event.get("exception_message")).strip()
    lacks_memory = is_out_of_memory(kind, text)
    error = OutOfMemory if lacks_memory else ExecutionFailed
    return error(
        f"{_place(node_id, node_type)} failed: {kind or 'an error'}: {_cut(text) or '(no message)'}",
        node_id=node_id,
        node_type=node_type,
        exception_type=kind,
        traceback=[_cut(as_text(frame)) for frame in as_list(event.get("traceback"))[-TRACEBACK_ENTRIES:]],
        hint=LESS_MEMORY if lacks_memory else f"Look at node {node_id or '?'} of the workflow, and into ComfyUI's log.",
    )


def is_out_of_memory(exception_type: str, message: str) -> bool:
    """Whether an exception of a node means that the memory (of the device or the machine) was too small."""
    if exception_type.rpartition(".")[2] in {"OutOfMemoryError", "MemoryError"}:
        return True
    return any(mark in message.lower() for mark in OUT_OF_MEMORY)


def _place(node_id: str, node_type: str) -> str:
    return f"node {node_id or '?'} ({node_type or 'unknown class'})"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else text[:TEXT_LIMIT] + " …"


def read_outputs(outputs: object) -> tuple[OutputRef, ...]:
    """Every kept file under any key of any node, by node id and then in the node's own order.

    Temporary files (previews) are left out, and so are the `.png` companions that video nodes write for the metadata.
    """
    nodes = as_mapping(outputs)
    found: list[OutputRef] = []
    for node in sorted(nodes, key=_natural):
        found.extend(_node_outputs(node, as_mapping(nodes[node])))
    return tuple(found)


def _node_outputs(node: str, output: Mapping[str, Any]) -> Iterator[OutputRef]:
    entries = [(key, index, as_mapping(entry)) for key, value in output.items() for index, entry in _numbered(value)]
    companions = {entry.get("workflow") for _, _, entry in entries if isinstance(entry.get("workflow"), str)}
    seen: set[tuple[str, str]] = set()
    for key, index, entry in entries:
        filename, subfolder = as_text(entry.get("filename")), as_text(entry.get("subfolder"))
        if entry.get("type") != "output" or not filename or filename in companions or (subfolder, filename) in seen:
            continue
        seen.add((subfolder, filename))
        kind = as_text(entry.get("format")) or None
        yield OutputRef(node=node, key=key, index=index, filename=filename, subfolder=subfolder, format=kind)


def _numbered(value: object) -> Iterator[tuple[int, object]]:
    return enumerate(as_list(value))


def _natural(node: str) -> tuple[tuple[bool, int, str], ...]:
    """Sorts "9" before "10", and the ids of subgraphs ("57:8") part by part."""
    return tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in node.split(":"))


def _texts(outputs: object) -> Iterator[str]:
    nodes = as_mapping(outputs)
    for node in sorted(nodes, key=_natural):
        for key, value in as_mapping(nodes[node]).items():
            if "text" in key or "string" in key:
                yield from (text for text in as_list(value) if isinstance(text, str))
