"""What the server's node classes take and give, as `/object_info` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comfygen.comfyui_client.shapes import as_list, as_mapping, as_number, as_text

# Inputs whose choices are files that come and go (uploads): the server checks those itself, by looking for the file.
FILE_INPUTS = frozenset({"image", "images", "mask", "audio", "video", "file", "latent", "directory"})


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input of a node class. `kind` is its type, "COMBO" for a choice; `options` are the choices, else None."""

    name: str
    kind: str
    required: bool = False
    options: tuple[object, ...] | None = None
    minimum: float | int | None = None
    maximum: float | int | None = None


@dataclass(frozen=True, kw_only=True)
class NodeClass:
    """A node class: its inputs by name, the types of its output slots, and whether it is an output node."""

    name: str
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    output_node: bool = False


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """Every node class of a server; `classes` is the raw answer, class name -> description."""

    classes: Mapping[str, Any]

    def node_class(self, name: str) -> NodeClass | None:
        """A class by name, or None when the server has no such class."""
        if name not in self.classes:
            return None
        raw = as_mapping(self.classes[name])
        return NodeClass(
            name=name,
            inputs=_inputs(name, as_mapping(raw.get("input"))),
            outputs=tuple(as_text(kind) or "COMBO" for kind in as_list(raw.get("output"))),
            output_node=raw.get("output_node") is True,
        )

    def options(self, class_type: str, input_name: str) -> tuple[str, ...] | None:
        """The choices of an input; None where there is no such class or input, or it is no choice."""
        known = self.node_class(class_type)
        spec = known.inputs.get(input_name) if known else None
        return None if spec is None or spec.options is None else tuple(str(option) for option in spec.options)

    def output_types(self, class_type: str) -> tuple[str, ...]:
        """The types of a class's output slots; empty for an unknown class."""
        known = self.node_class(class_type)
        return known.outputs if known else ()


def _inputs(class_type: str, sections: Mapping[str, Any]) -> dict[str, InputSpec]:
    return {
        name: read_input(class_type, name, spec, required=section == "required")
        for section in ("required", "optional")
        for name, spec in as_mapping(sections.get(section)).items()
    }


def read_input(class_type: str, name: str, spec: object, *, required: bool = False) -> InputSpec:
    """An input's description; choices come as `[[…], {…}]` and as `["COMBO", {"options": […]}]`."""
    parts = as_list(spec)
    head, extra = parts[0] if parts else "", as_mapping(parts[1]) if len(parts) > 1 else {}
    choices = head if isinstance(head, list) else extra.get("options") if head == "COMBO" else None
    if not isinstance(choices, list) or _names_files(class_type, name, extra):
        choices = None
    return InputSpec(
        name=name,
        kind="COMBO" if isinstance(head, list) else as_text(head),
        required=required,
        options=None if choices is None else tuple(choices),
        minimum=_bound(extra.get("min")),
        maximum=_bound(extra.get("max")),
    )


def _bound(value: object) -> float | int | None:
    """Integers stay exact: seeds reach 2^64 - 1."""
    return value if isinstance(value, int) and not isinstance(value, bool) else as_number(value)


def _names_files(class_type: str, name: str, extra: Mapping[str, Any]) -> bool:
    """Whether the choices are uploaded or remote files, which the list need not show."""
    flagged = any(key.endswith("upload") or key == "remote" for key, value in extra.items() if value)
    return flagged or ("Load" in class_type and name in FILE_INPUTS)
