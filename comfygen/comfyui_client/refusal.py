"""Turns ComfyUI's "no" to a prompt into one error that a person understands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from comfygen.comfyui_client.objects import ObjectInfo, read_input
from comfygen.comfyui_client.shapes import as_list, as_mapping, as_text
from comfygen.comfyui_client.wording import not_offered, place, shown, some, suggestion
from comfygen.errors import PromptRefused
from comfygen.graph import Graph, as_link, class_of, inputs_of, is_node

CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NODE_ID = re.compile(r"Node ID '#(.*)'")
NO_CLASS = re.compile(r"because node (.+) does not exist")


def check_postable(graph: Graph, prompt_id: str) -> None:
    """Raise for what some version of ComfyUI answers with a bare 500: strange ids, root entries that are no nodes."""
    if not CANONICAL_UUID.fullmatch(prompt_id):
        raise PromptRefused(f"Prompt id {prompt_id!r} is no UUID in lower case with hyphens.")
    strays = [key for key, value in graph.items() if not is_node(value)]
    if strays:
        raise PromptRefused(f"The graph has entries that are no nodes: {', '.join(map(str, strays))}.")


HINT = "Nothing ran. Change these inputs in the request or the workflow, or put what is missing into ComfyUI."


def refusal(body: Mapping[str, Any], graph: Graph, object_info: ObjectInfo | None = None) -> PromptRefused:
    """The error for an answer of POST /prompt: every mistake with node, class, input, what was given, what would do.

    `object_info`, if at hand, gives the choices that the answer leaves out (lists of more than 20).
    """
    node_errors = {str(node): as_mapping(value) for node, value in as_mapping(body.get("node_errors")).items()}
    lines = [
        f"{place(node, _class(graph, node, errors))}{_describe(as_mapping(error), graph, node, object_info)}"
        for node, errors in node_errors.items()
        for error in as_list(errors.get("errors"))
    ]
    lines = lines or [_headline(as_mapping(body.get("error")), graph)]
    head = "ComfyUI refused the prompt: "
    text = head + lines[0] if len(lines) == 1 else "\n  ".join([head.rstrip(), *lines])
    return PromptRefused(text, node_errors=dict(node_errors), hint=HINT)


def _class(graph: Graph, node: str, errors: Mapping[str, Any]) -> str:
    return as_text(errors.get("class_type")) or class_of(graph, node)


def _headline(error: Mapping[str, Any], graph: Graph) -> str:
    """A refusal that blames no input: an unknown class, no outputs, a body without a prompt, a cycle (before 0.20)."""
    kind, extra = as_text(error.get("type")), as_mapping(error.get("extra_info"))
    message, details = as_text(error.get("message")), as_text(error.get("details"))
    found = NODE_ID.search(details)
    if kind in {"missing_node_type", "invalid_prompt"} and found:
        return _missing_class(found[1], as_text(extra.get("class_type")) or class_of(graph, found[1]), message)
    if kind == "prompt_outputs_failed_validation" and not details:
        return f"{message}, and ComfyUI does not say where; the graph may contain a cycle."
    return f"{message or 'no reason given'}{f' ({details})' if details and details != message else ''}."


def _missing_class(node: str, class_type: str, message: str) -> str:
    """Newer servers give the class apart, older ones in their text, and some of the newer text is the node's title."""
    named = NO_CLASS.search(message)
    name = named[1] if named else class_type
    if not name or "class_type" in message:
        return f"{node!r} is no node: it has no class_type."
    return f"node {node}: no node class {name!r} here. Install the custom node that brings it."


def _describe(error: Mapping[str, Any], graph: Graph, node: str, object_info: ObjectInfo | None) -> str:
    """One mistake of one node, beginning with the input it is about."""
    extra = as_mapping(error.get("extra_info"))
    name = as_text(extra.get("input_name"))
    describe = _KINDS.get(as_text(error.get("type")), _other)
    text = describe(error, extra)
    if error.get("type") == "value_not_in_list":
        text = _not_in_list(extra, class_of(graph, node), object_info)
    if error.get("type") == "exception_during_inner_validation":
        text = _broken(error, graph, node)
        name = ""  # it names the input of the node downstream
    return f" {name}: {text}" if name else f": {text}"


def _not_in_list(extra: Mapping[str, Any], class_type: str, object_info: ObjectInfo | None) -> str:
    name, value = as_text(extra.get("input_name")), extra.get("received_value")
    echoed = read_input("", name, extra.get("input_config")).options
    options = [str(option) for option in echoed or ()]
    if not options and object_info is not None:
        options = list(object_info.options(class_type, name) or ())
    allowed = f"Allowed: {some(options)}." if options else ""
    return " ".join(part for part in (f"{not_offered(name, value)}.", suggestion(value, options), allowed) if part)


def _broken(error: Mapping[str, Any], graph: Graph, node: str) -> str:
    """A link into nothing makes ComfyUI raise while it validates the node: say which link it is."""
    kind = as_text(as_mapping(error.get("extra_info")).get("exception_type"))
    inputs = inputs_of(graph, node).items()
    stray = [name for name, value in inputs if isinstance(value, list) and not _leads_somewhere(value, graph)]
    where = f" Its input {', '.join(stray)} links to a node that does not exist." if stray else ""
    if not where and kind == "IndexError":
        where = " One of its links leads to an output that does not exist."
    return f"cannot be validated: {kind} {' '.join(as_text(error.get('details')).split())}.{where}"


def _leads_somewhere(value: object, graph: Graph) -> bool:
    link = as_link(value)
    return link is not None and link.node in graph


def _bound(error: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    return f"{as_text(error.get('message'))}."


def _missing(error: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    return "this input is required and missing."


def _wrong_type(error: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    config = as_list(extra.get("input_config"))
    return f"{shown(extra.get('received_value'))} is no valid {config[0] if config else 'value'}."


def _mismatch(error: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    source, config = as_list(extra.get("linked_node")) or ["?"], as_list(extra.get("input_config")) or ["another type"]
    return f"gets {as_text(extra.get('received_type'))} from node {source[0]} but takes {config[0]}."


def _bad_link(error: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    return f'{shown(extra.get("received_value"))} is no link; a link is ["node id", output slot].'


def _other(error: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    details, message = as_text(error.get("details")), as_text(error.get("message"))
    return f"{message or as_text(error.get('type'))}{f': {details}' if details else ''}."


_KINDS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {
    "value_smaller_than_min": _bound,
    "value_bigger_than_max": _bound,
    "required_input_missing": _missing,
    "invalid_input_type": _wrong_type,
    "return_type_mismatch": _mismatch,
    "bad_linked_input": _bad_link,
}
