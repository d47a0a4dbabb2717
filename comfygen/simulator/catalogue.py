"""The catalogue: which node classes the simulated ComfyUI has, with their inputs, and which model files.

`nodes.json` is what a real 0.28.1 says in `/object_info`, kept to the classes a generation graph uses. Lists of files
in it are replaced by marks: `$loras` is the list of that model folder, `$@input` that of the uploaded files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from comfygen.simulator.folders import Folders


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One input of a node class: `kind` is its type, or "COMBO" for a choice from `choices` (a list or a mark)."""

    name: str
    kind: str
    required: bool
    choices: list[Any] | str | None
    extra: Mapping[str, Any]
    plain_list: bool

    @cached_property
    def is_literal(self) -> bool:
        """Whether a plain value may stand here; anything else wants a link."""
        return self.kind in {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "*"}


class Catalogue:
    """All classes by name; `models` maps each model folder to its file names and may be changed at any time."""

    def __init__(self, folders: Folders, models: Mapping[str, Sequence[str]] | None = None) -> None:
        self.folders = folders
        self.classes: dict[str, dict[str, Any]] = _read("nodes.json")
        self.models: dict[str, list[str]] = _read("models.json") | {k: list(v) for k, v in (models or {}).items()}
        self._slots = {name: _slots(described) for name, described in self.classes.items()}

    def slots(self, name: str) -> tuple[Slot, ...]:
        return self._slots[name]

    def is_output(self, name: str) -> bool:
        return bool(self.classes[name]["output_node"])

    def returns(self, name: str) -> list[str]:
        outputs: list[str] = self.classes[name]["output"]
        return outputs

    def options(self, slot: Slot) -> list[Any] | None:
        """What may be chosen for a slot right now; None when it is no choice."""
        return self._filled(slot.choices) if isinstance(slot.choices, str) else slot.choices

    def config(self, slot: Slot) -> list[Any]:
        """The slot as `/object_info` shows it: its type or its options, and its settings."""
        options = self.options(slot)
        if options is None:
            return [slot.kind, dict(slot.extra)]
        return [options, dict(slot.extra)] if slot.plain_list else [slot.kind, {**slot.extra, "options": options}]

    def described(self, name: str) -> dict[str, Any]:
        """A class as `/object_info` shows it, with the lists of files filled in."""
        described = self.classes[name]
        inputs = {group: dict(slots) for group, slots in described["input"].items()}
        for slot in self.slots(name):
            if isinstance(slot.choices, str):
                group = inputs["required" if slot.required else "optional"]
                config = self.config(slot)
                group[slot.name] = config if slot.extra or not slot.plain_list else config[:1]
        return {**described, "input": inputs}

    def _filled(self, mark: str) -> list[str]:
        folder, *more = mark.removeprefix("$").split()
        if folder.startswith("@"):
            return self.folders.images(folder.removeprefix("@"))
        return [*self.models.get(folder, []), *more]


def _read(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(files("comfygen.simulator").joinpath(name).read_text("utf-8"))
    return value


def _slots(described: Mapping[str, Any]) -> tuple[Slot, ...]:
    groups = (("required", True), ("optional", False))
    return tuple(
        _slot(name, spec, required)
        for group, required in groups
        for name, spec in described["input"].get(group, {}).items()
    )


def _slot(name: str, spec: Sequence[Any], required: bool) -> Slot:
    first, extra = spec[0], dict(spec[1]) if len(spec) > 1 else {}
    plain_list = isinstance(first, list) or first.startswith("$")
    choices = first if plain_list else extra.pop("options", None)
    kind = "COMBO" if plain_list else first
    return Slot(name=name, kind=kind, required=required, choices=choices, extra=extra, plain_list=plain_list)
