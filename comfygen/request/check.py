"""The whole check of one request: every key, the matrix, and what only several keys together can get wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from comfygen.documents import Path, dotted, shown
from comfygen.request.keys import MATRIX, MATRIX_KEYS, REQUEST
from comfygen.request.mistakes import MAX_MISTAKES, Mistake, mistakes_of

if TYPE_CHECKING:
    from comfygen.request.model import Request

MAX_JOBS: Final = 1000
REQUIRED: Final = ("workflow", "prompt")


def checked(model: type[Request], plain: object) -> tuple[Request | None, list[Mistake]]:
    """The request that a mapping spells, or None and every mistake in it. A key without a value counts as left out."""
    if (foreign := _foreign(plain)) or not isinstance(plain, Mapping):
        return None, [foreign] if foreign else []
    given = {str(key): value for key, value in plain.items() if value is not None}
    firsts = _firsts(given)
    request, mistakes = _validated(model, {**given, **firsts})
    mistakes = [mistake for mistake in mistakes if mistake.path[0] not in firsts]  # the matrix reports those itself
    mistakes += [*_matrix_mistakes(model, given), *_joint_mistakes(given)]
    return (None, mistakes[:MAX_MISTAKES]) if mistakes else (request, [])


def _validated(model: type[Request], given: Mapping[str, object]) -> tuple[Request | None, list[Mistake]]:
    """Each key for itself."""
    try:
        return model.model_validate(given, by_alias=True, by_name=False), []
    except ValidationError as error:
        return None, mistakes_of(error, REQUEST)


def _foreign(plain: object) -> Mistake | None:
    """What is wrong with something that is no request at all."""
    if not isinstance(plain, Mapping):
        hint = "Separate several requests by a line `---`." if isinstance(plain, list) else None
        if isinstance(plain, str) and ":" in plain:
            hint = "Put a blank after the colon of each key."
        message = f"a request is a mapping with `prompt: …` and `workflow: …`, not {shown(plain)}."
        return Mistake(path=(), message=message, hint=hint)
    if is_workflow(plain) or is_workflow(plain.get("prompt")):
        hint = "Put it into workflows/ and name it with `workflow:`."
        return Mistake(path=(), message="this is a workflow, not a request.", hint=hint)
    return None


def is_workflow(value: object) -> bool:
    """Whether a value is a ComfyUI graph, in API format or as the editor saves it."""
    if not isinstance(value, Mapping):
        return False
    editor = isinstance(value.get("nodes"), list) and "links" in value
    return editor or any(isinstance(node, Mapping) and "class_type" in node for node in value.values())


def _firsts(given: Mapping[str, object]) -> dict[str, object]:
    """A required key that only the matrix has stands in the request with its first value."""
    lists = _lists(given)
    return {key: lists[key][0] for key in REQUIRED if key not in given and key in lists}


def _lists(given: Mapping[str, object]) -> dict[str, list[object]]:
    """The entries of the matrix that are what they should be: lists with something in them."""
    matrix = given.get("matrix")
    entries = matrix.items() if isinstance(matrix, Mapping) else ()
    return {str(key): values for key, values in entries if isinstance(values, list) and values}


def _matrix_mistakes(model: type[Request], given: Mapping[str, object]) -> Iterator[Mistake]:
    """Keys that cannot vary, lists without values, and values that the key itself would refuse."""
    matrix = given.get("matrix")
    for key, values in matrix.items() if isinstance(matrix, Mapping) else ():
        path: Path = ("matrix", str(key))
        if key not in MATRIX_KEYS:
            hint = MATRIX.suggestion((str(key),)) if key not in REQUEST.allowed else None
            message = "cannot vary." if key in REQUEST.allowed else "is no known key."
            yield Mistake(path=path, message=message, hint=hint, allowed=None if hint else ", ".join(MATRIX_KEYS))
        elif values == []:
            yield Mistake(path=path, message="has no values.", allowed="a list with at least one value")
    for key, values in _lists(given).items():
        if key in MATRIX_KEYS:
            yield from _value_mistakes(model, key, values)


def _value_mistakes(model: type[Request], key: str, values: list[object]) -> Iterator[Mistake]:
    """What is wrong with each value of one list. Beyond MAX_JOBS the list itself is the mistake."""
    least: dict[str, object] = dict.fromkeys(REQUIRED, "x")
    for n, value in enumerate(values[:MAX_JOBS]):
        if value is None and key not in REQUIRED:
            continue
        try:
            model.model_validate({**least, key: value}, by_alias=True, by_name=False)
        except ValidationError as error:
            yield from mistakes_of(error, MATRIX, prefix=("matrix", key, n), skip=1)


def _joint_mistakes(given: Mapping[str, object]) -> Iterator[Mistake]:
    """What no single key can know: the number of jobs, and settings for an image that is not there."""
    lists = {key: values for key, values in _lists(given).items() if key in MATRIX_KEYS}
    count = given.get("count", 1)
    factors = [len(values) for values in lists.values()]
    factors += [count] if type(count) is int and 1 <= count <= MAX_JOBS else []
    if (jobs := math.prod(factors)) > MAX_JOBS:
        product = " x ".join(str(factor) for factor in factors)
        yield Mistake(path=("matrix",), message=f"makes {product} = {jobs} jobs.", allowed=f"at most {MAX_JOBS} jobs")
    images = lists.get("input_image", [given.get("input_image")])
    for key in ("resize", "crop"):
        if None in images and (key in given or key in lists):
            place: Path = (key,) if key in given else ("matrix", key)
            hint = f"Add `input_image: …`, or remove {dotted(place)}."
            yield Mistake(path=place, message="needs an input image.", hint=hint)
