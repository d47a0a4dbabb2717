"""Request: what a person asked for, as a frozen value that is exactly what the file said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from comfygen.errors import RequestInvalid
from comfygen.request.check import checked
from comfygen.request.fields import (
    Cfg,
    Fps,
    Fraction,
    Frames,
    Moment,
    Name,
    OutputName,
    Priority,
    Prompt,
    Reference,
    Seconds,
    Seed,
    Side,
    Size,
    Steps,
    Text,
    WorkflowName,
    as_tuple,
)
from comfygen.request.loras import Loras

MAX_TAGS: Final = 100


class Request(BaseModel):
    """What was asked for. None means: not asked for, so the preset or the workflow decides.

    `seed` None is random. `matrix` holds values as the file spells them. Built directly, a wrong value raises
    pydantic's ValidationError; `from_json` raises RequestInvalid in words for people.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    workflow: WorkflowName
    prompt: Prompt
    negative_prompt: Text | None = None
    preset: Name | None = None
    seed: Seed = None
    steps: Steps | None = None
    cfg: Cfg | None = None
    sampler: Name | None = None
    scheduler: Name | None = None
    width: Side | None = None
    height: Side | None = None
    denoise: Fraction | None = None
    frames: Frames | None = None
    fps: Fps | None = None
    loras: Loras = ()
    lora_preset: Name | None = None
    input_image: Reference | None = None
    resize: Size | None = None
    crop: Literal["center", "cover", "contain"] | None = None
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    matrix: dict[str, list[object]] = Field(default_factory=dict)
    # `validate` is a method of pydantic's; files call the key by that name.
    validate_image: bool = Field(default=False, validation_alias="validate", serialization_alias="validate")
    metadata: bool = True
    output: OutputName | None = None
    tags: Annotated[tuple[Name, ...], Field(max_length=MAX_TAGS), BeforeValidator(as_tuple)] = ()
    project: Name | None = None
    id: Name | None = None
    priority: Priority = 0
    not_before: Moment | None = None
    timeout: Seconds | None = None

    def to_json(self) -> dict[str, object]:
        """The request as a file would say it, without what is the default anyway."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> Request:
        """The request that a mapping with the keys of a file says; raises RequestInvalid with every mistake."""
        request, mistakes = checked(cls, plain)
        if request is None:
            raise RequestInvalid("The request cannot be used.", problems=[m.problem() for m in mistakes])
        return request
