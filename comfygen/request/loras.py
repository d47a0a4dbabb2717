"""A LoRA as people write it: `file:strength`, or a mapping. Requests and presets read it here."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
)

from comfygen.documents import did_you_mean, quoted, shown
from comfygen.errors import InvalidInput
from comfygen.lora import Lora
from comfygen.request.fields import MAX_REFERENCE, Name, Strength, as_tuple, one_line, wrong
from comfygen.request.keys import LORA_KEYS, LORA_WORDS
from comfygen.request.mistakes import mistakes_of

MAX_LORAS: Final = 100
_NUMBER = re.compile(
    r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.?(?:nan|inf|infinity)", re.IGNORECASE
)


def lora_name(text: str) -> str:
    """The file of a LoRA as ComfyUI lists it; it may lie in subfolders (`/` or `\\`), but climb out of none."""
    one_line(MAX_REFERENCE)(text)
    if ".." in re.split(r"[/\\]", text):
        raise wrong('must not contain a folder "..".')
    return text


class LoraEntry(BaseModel):
    """The long spelling of a LoRA."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(lora_name)]
    strength: Strength = 1.0
    strength_clip: Strength | None = None
    branch: Name | None = None


def split_strength(text: str) -> tuple[str, float | None]:
    """`name:0.8` as name and number. What follows the last colon counts only if it is a number."""
    name, colon, tail = text.rpartition(":")
    if not colon or not _NUMBER.fullmatch(tail.strip()):
        return text, None
    digits = tail.strip().lower().replace(".nan", "nan").replace(".inf", "inf")
    return name.strip(), float(digits)


def _entry(value: object) -> object:
    """Either spelling as the mapping that LoraEntry checks."""
    if isinstance(value, str):
        name, strength = split_strength(value)
        return {"name": name} if strength is None else {"name": name, "strength": strength}
    if isinstance(value, dict) and len(value) == 1:
        [(key, number)] = value.items()
        if isinstance(number, int | float) and not did_you_mean(str(key), LORA_KEYS):
            raise wrong(
                f"{quoted(str(key))} is no known key.", hint=f"Write {quoted(f'{key}:{number}')}, without a blank."
            )
    if not isinstance(value, dict):
        raise wrong(f"must be name:strength or a mapping, not {shown(value)}.")
    return value


def _lora(value: object) -> Lora:
    """The LoRA that `value` spells; pydantic places what it raises."""
    if isinstance(value, Lora):
        value = {key: part for key, part in vars(value).items() if part is not None}
    entry = LoraEntry.model_validate(_entry(value))
    return Lora(name=entry.name, strength=entry.strength, strength_clip=entry.strength_clip, branch=entry.branch)


def lora_json(lora: Lora) -> dict[str, object]:
    """A LoRA as a mapping; what it leaves open is left out."""
    return {key: part for key, part in vars(lora).items() if part is not None}


def lora_text(lora: Lora) -> str | dict[str, object]:
    """A LoRA as people would write it: the short spelling wherever that says everything."""
    if lora.strength_clip is not None or lora.branch is not None:
        return lora_json(lora)
    return f"{lora.name}:{lora.strength!r}"


OneLora = Annotated[Lora, BeforeValidator(_lora), PlainSerializer(lora_json)]
Loras = Annotated[tuple[OneLora, ...], Field(max_length=MAX_LORAS), BeforeValidator(as_tuple)]
_ONE: Final[TypeAdapter[Lora]] = TypeAdapter(OneLora)


def parse_lora(value: object) -> Lora:
    """The LoRA that a text (`name:strength`) or a mapping spells. Raises InvalidInput with every mistake."""
    try:
        return _ONE.validate_python(value)
    except ValidationError as error:
        mistakes = mistakes_of(error, LORA_WORDS)
        raise InvalidInput("The LoRA cannot be used.", problems=[mistake.problem() for mistake in mistakes]) from error
