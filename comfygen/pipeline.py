"""The one use case that command line, tools and service share: a request file becomes plans."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from comfygen.errors import ComfyGenError, InvalidInput, Problem, RequestInvalid
from comfygen.images import prepare_input
from comfygen.plan import InputImage, Plan, make_plan
from comfygen.request import Request, expand, parse_requests, place_problems
from comfygen.resources import Library

MAX_RANDOM_SEED = 2**53 - 1
Images: TypeAlias = dict[object, InputImage | None]


class Inputs(Protocol):
    """Where input images come from, and where the prepared ones are kept until they have run."""

    async def read(self, reference: str) -> bytes:
        """The bytes that `input_image` names. Raises ComfyGenError for what may not or cannot be read."""
        ...

    async def keep(self, name: str, content: bytes) -> None:
        """Keep a prepared image under its name, durably; the same name always has the same bytes."""
        ...

    def holding(self) -> AbstractContextManager[None]:
        """While it lasts nothing that was kept is dropped: nobody has written down yet who needs it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One job to be: the request with everything expanded, its plan, and its place in the batch of its document."""

    request: Request
    plan: Plan
    batch_index: int
    batch_of: int


@dataclass(frozen=True, kw_only=True)
class Kitchen:
    """What plans are made from."""

    library: Library
    inputs: Inputs


def seeds(text: str) -> Iterator[int]:
    """Random seeds in 0..2^53-1, always the same ones for the same text.

    Drawn from the id of a request, they make its preparation repeatable: after a crash, or at another service.
    """
    for number in itertools.count():
        digest = hashlib.sha256(f"{text}/{number}".encode()).digest()
        yield int.from_bytes(digest[:8], "big") & MAX_RANDOM_SEED


async def prepare(text: bytes, *, file: str, kitchen: Kitchen, draw: Iterator[int]) -> tuple[Prepared, ...]:
    """Every job of a request file, planned; `draw` gives the seeds of those that leave theirs to chance.

    Raises RequestInvalid with all that is wrong, or a retryable error when nothing is, but a store was away; nothing
    is half-done. To be called while the inputs are `holding`.
    """
    prepared: list[Prepared] = []
    found: list[tuple[int, Problem]] = []
    away: ComfyGenError | None = None
    images: Images = {}
    for number, request in enumerate(parse_requests(text, file=file)):
        singles = expand(request)
        for place, single in enumerate(singles):
            try:
                plan = await _plan(single, kitchen, next(draw), images)
            except ComfyGenError as error:
                away = error if error.retryable else away
                found += [] if error.retryable else [(number, problem) for problem in _problems(error)]
            else:
                prepared.append(Prepared(request=single, plan=plan, batch_index=place, batch_of=len(singles)))
    if found:
        raise RequestInvalid(f"{file} cannot be used:", problems=place_problems(found, text, file=file))
    if away is not None:
        raise away
    return tuple(prepared)


async def _plan(request: Request, kitchen: Kitchen, chance: int, images: Images) -> Plan:
    await asyncio.sleep(0)  # a file may have a thousand jobs, and others want to go on meanwhile
    workflow = kitchen.library.workflow(request.workflow)
    presets = kitchen.library.presets()
    wanted = request.input_image, request.resize, request.crop
    if wanted not in images:
        with _about_the_image():
            images[wanted] = await _input(request, kitchen.inputs)
    seed = request.seed if request.seed is not None else chance
    return make_plan(request, workflow=workflow, presets=presets, seed=seed, input_image=images[wanted])


async def _input(request: Request, inputs: Inputs) -> InputImage | None:
    if request.input_image is None:
        return None
    content = await inputs.read(request.input_image)
    prepared, width, height = await asyncio.to_thread(prepare_input, content, resize=request.resize, crop=request.crop)
    digest = hashlib.sha256(prepared).hexdigest()
    name = f"comfygen-{digest[:32]}.png"
    await inputs.keep(name, prepared)
    return InputImage(source=request.input_image, name=name, sha256=digest, width=width, height=height)


@contextmanager
def _about_the_image() -> Iterator[None]:
    """What cannot be read or used as an input image is a mistake of that key."""
    try:
        yield
    except ComfyGenError as error:
        if error.retryable:
            raise
        problem = Problem(field="input_image", message=error.message, hint=error.hint)
        raise InvalidInput(problems=[problem]) from error


def _problems(error: ComfyGenError) -> Sequence[Problem]:
    """The mistakes that an error tells."""
    if isinstance(error, InvalidInput) and error.problems:
        return error.problems
    return [Problem(field=error.field, message=error.message, hint=error.hint)]


__all__ = ["Inputs", "Kitchen", "Prepared", "prepare", "seeds"]
