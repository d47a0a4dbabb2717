"""Expansion: one request with a matrix and a count becomes the requests for single jobs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from comfygen.errors import Problem, RequestInvalid
from comfygen.request.check import MAX_JOBS
from comfygen.request.fields import MAX_SEED
from comfygen.request.model import Request


def jobs_of(request: Request) -> int:
    """How many jobs a request makes."""
    return math.prod(len(values) for values in request.matrix.values()) * request.count


def expand(request: Request) -> tuple[Request, ...]:
    """Every combination of the matrix times count, each with count 1 and no matrix; the last key varies fastest.

    A given seed counts up by one within `count` and wraps at 2^64; a random one stays None. Raises RequestInvalid
    beyond MAX_JOBS.
    """
    if (jobs := jobs_of(request)) > MAX_JOBS:
        problem = Problem(field="matrix", message=f"makes {jobs} jobs.", allowed=f"at most {MAX_JOBS} jobs")
        raise RequestInvalid("The request makes too many jobs.", problems=[problem])
    return tuple(job for variant in _variants(request) for job in _repeated(variant, request.count))


def _variants(request: Request) -> Iterator[Request]:
    """One request per combination of the matrix; null takes the key away."""
    base = {key: value for key, value in request.to_json().items() if key not in ("matrix", "count")}
    for values in itertools.product(*request.matrix.values()):
        yield Request.from_json({**base, **dict(zip(request.matrix, values, strict=True))})


def _repeated(request: Request, count: int) -> Iterator[Request]:
    for n in range(count):
        seed = None if request.seed is None else (request.seed + n) % (MAX_SEED + 1)
        yield request.model_copy(update={"seed": seed})
