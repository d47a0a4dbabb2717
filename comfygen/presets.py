"""Presets: sampler settings and sets of LoRAs by name, as presets.yaml holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from comfygen.documents import Document, did_you_mean, quoted, read_document, shown
from comfygen.errors import InvalidInput, NotFound, PresetsInvalid
from comfygen.request.fields import MAX_NAME, Cfg, Name, Side, Steps, Text, as_tuple, one_line, wrong
from comfygen.request.keys import KEYS, LORA_PLACES, TEXT
from comfygen.request.loras import MAX_LORAS, OneLora
from comfygen.request.mistakes import Mistake, Vocabulary, mistakes_of

TOP_KEYS: Final = ("presets", "lora_presets")
SETTINGS: Final = ("steps", "cfg", "sampler", "scheduler", "width", "height")
HEADLINE: Final = "The presets cannot be used."


def _some(value: object) -> object:
    """A list with something in it. (pydantic's own minimum counts the valid entries only.)"""
    if value in ([], ()):
        raise wrong("has no entries.")
    return as_tuple(value)


class _Entry(BaseModel):
    """What both kinds of presets have in common."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    description: Text | None = None


class PresetEntry(_Entry):
    """A preset as the file spells it, below its name."""

    steps: Steps | None = None
    cfg: Cfg | None = None
    sampler: Name | None = None
    scheduler: Name | None = None
    width: Side | None = None
    height: Side | None = None


class LoraPresetEntry(_Entry):
    """A LoRA preset as the file spells it, below its name."""

    loras: Annotated[tuple[OneLora, ...], Field(max_length=MAX_LORAS), BeforeValidator(_some)]


class Preset(PresetEntry):
    """Sampler settings under a name. None leaves a setting to the workflow; a request overrides each of them."""

    name: str


class LoraPreset(LoraPresetEntry):
    """LoRAs under a name, in the order of their chain."""

    name: str


_Kind = TypeVar("_Kind", Preset, LoraPreset)
_DESCRIPTION: Final = {"description": TEXT}
_PRESET: Final = Vocabulary({name: KEYS[name].allowed for name in SETTINGS} | _DESCRIPTION)
_LORA_PRESET: Final = Vocabulary({"loras": KEYS["loras"].allowed} | LORA_PLACES | _DESCRIPTION)


@dataclass(frozen=True, kw_only=True)
class Presets:
    """Everything that presets.yaml offers."""

    presets: Mapping[str, Preset] = field(default_factory=dict)
    lora_presets: Mapping[str, LoraPreset] = field(default_factory=dict)

    def preset(self, name: str) -> Preset:
        """The preset of that name; raises NotFound with what was probably meant."""
        return _named(name, self.presets, "preset")

    def lora_preset(self, name: str) -> LoraPreset:
        """The LoRA preset of that name; raises NotFound with what was probably meant."""
        return _named(name, self.lora_presets, "LoRA preset")


def _named(name: str, offered: Mapping[str, _Kind], kind: str) -> _Kind:
    if name in offered:
        return offered[name]
    hint = did_you_mean(name, offered) or f"There are: {', '.join(sorted(offered)) or 'none'}."
    raise NotFound(f"There is no {kind} {quoted(name)}.", hint=hint, field=kind.lower().replace(" ", "_"))


def parse_presets(text: bytes, *, file: str) -> Presets:
    """The presets of a file; an empty file has none. Raises PresetsInvalid with every mistake and its line."""
    try:
        document = read_document(text, file=file)
    except InvalidInput as error:
        raise PresetsInvalid(HEADLINE, problems=error.problems) from error
    mistakes: list[Mistake] = list(_top_mistakes(document.value))
    presets = _section(document, "presets", (PresetEntry, Preset, _PRESET), mistakes)
    lora_presets = _section(document, "lora_presets", (LoraPresetEntry, LoraPreset, _LORA_PRESET), mistakes)
    fresh = [mistake.problem(document, file) for mistake in mistakes if not document.doubts(mistake.path)]
    if problems := [*document.mistakes, *fresh]:
        raise PresetsInvalid(HEADLINE, problems=sorted(problems, key=lambda problem: problem.line or 0))
    return Presets(presets=presets, lora_presets=lora_presets)


def _top_mistakes(value: object) -> Iterator[Mistake]:
    """What is wrong above the presets themselves."""
    if not isinstance(value, dict):
        yield Mistake(path=(), message=f"must be a mapping, not {shown(value)}.", allowed=" and ".join(TOP_KEYS))
        return
    for key, section in value.items():
        if key not in TOP_KEYS:
            hint = did_you_mean(key, TOP_KEYS)
            yield Mistake(path=(key,), message="is no known key.", hint=hint, allowed=" and ".join(TOP_KEYS))
        elif not isinstance(section, dict | None):
            yield Mistake(path=(key,), message=f"must be a mapping of names to presets, not {shown(section)}.")


def _section(
    document: Document, section: str, kind: tuple[type[BaseModel], type[_Kind], Vocabulary], mistakes: list[Mistake]
) -> dict[str, _Kind]:
    """The presets of one kind; what is wrong goes to `mistakes`."""
    entry, made, vocabulary = kind
    top = document.value if isinstance(document.value, dict) else {}
    found: dict[str, _Kind] = {}
    entries = top.get(section)
    for name, value in entries.items() if isinstance(entries, dict) else ():
        try:
            one_line(MAX_NAME)(name)
            entry.model_validate(value)
            found[name] = made.model_validate({**value, "name": name})
        except PydanticCustomError as error:
            mistakes.append(Mistake(path=(section, name), message=f"its name {error.message()}"))
        except ValidationError as error:
            mistakes += mistakes_of(error, vocabulary, prefix=(section, name))
    return found
