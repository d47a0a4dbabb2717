"""Expansion of a request into jobs: the matrix, the count and the seeds."""

from __future__ import annotations

import pytest

from comfygen.errors import RequestInvalid
from comfygen.lora import Lora
from comfygen.request import MAX_JOBS, Request, expand, jobs_of, parse_requests


def one(text: str) -> Request:
    """The request of a file with the least that one needs, and `text`."""
    [request] = parse_requests(f"workflow: w\n{text}\n".encode(), file="x.yaml")
    return request


def test_a_simple_request_is_one_job() -> None:
    """Without matrix and count the request itself is the job."""
    request = one("prompt: p\nseed: 5\ntags: [a]")
    assert (request,) == expand(request)


def test_count_varies_a_given_seed() -> None:
    """The seeds count up from the given one."""
    assert [job.seed for job in expand(one("prompt: p\nseed: 7\ncount: 3"))] == [7, 8, 9]


def test_seeds_wrap_at_two_to_the_64th() -> None:
    """The seed after the largest is 0."""
    assert [job.seed for job in expand(one(f"prompt: p\nseed: {2**64 - 1}\ncount: 3"))] == [2**64 - 1, 0, 1]


def test_random_seeds_stay_random() -> None:
    """A random seed is drawn later, for each job its own."""
    assert [job.seed for job in expand(one("prompt: p\ncount: 2"))] == [None, None]


def test_the_matrix_is_a_cross_product_in_the_order_of_the_file() -> None:
    """The last key varies fastest, and count within each combination."""
    jobs = expand(one("prompt: p\nseed: 1\ncount: 2\nmatrix: {sampler: [euler, heun], cfg: [5, 7.5]}"))
    expected = [(s, c, n) for s in ("euler", "heun") for c in (5.0, 7.5) for n in (1, 2)]
    assert expected == [(job.sampler, job.cfg, job.seed) for job in jobs]
    assert {(1, 0)} == {(job.count, len(job.matrix)) for job in jobs}


def test_the_matrix_goes_before_the_key_itself() -> None:
    """A key of the matrix overrides the same key above it; null leaves it out."""
    jobs = expand(one("prompt: p\npreset: ultra\nseed: 3\nmatrix: {preset: [draft, null], seed: [4, -1]}"))
    assert [(job.preset, job.seed) for job in jobs] == [("draft", 4), ("draft", None), (None, 4), (None, None)]


def test_every_spelling_works_within_a_matrix() -> None:
    """Sizes and LoRAs of a matrix are written as anywhere else."""
    text = 'prompt: p\ninput_image: x.png\nmatrix: {resize: [64x32], loras: [[], ["a:0.5", {name: b, branch: low}]]}'
    jobs = expand(one(text))
    assert [(), (Lora(name="a", strength=0.5), Lora(name="b", branch="low"))] == [job.loras for job in jobs]
    assert {(64, 32)} == {job.resize for job in jobs}


def test_prompts_may_stand_in_the_matrix_alone() -> None:
    """A required key is there if the matrix has it."""
    request = one("matrix: {prompt: [a car, a robot]}")
    assert (request.prompt, [job.prompt for job in expand(request)]) == ("a car", ["a car", "a robot"])


def test_the_largest_request_makes_a_thousand_jobs() -> None:
    """MAX_JOBS are possible, one more is not."""
    request = one("prompt: p\ncount: 100\nmatrix: {seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}")
    assert MAX_JOBS == jobs_of(request) == len(expand(request))
    with pytest.raises(RequestInvalid, match="makes 1010 jobs"):
        expand(request.model_copy(update={"count": 101}))


def test_expansion_checks_what_was_built_in_python() -> None:
    """A matrix that no file went through is validated when it is expanded."""
    with pytest.raises(RequestInvalid, match="steps: must be a whole number"):
        expand(Request(workflow="w", prompt="p", matrix={"steps": ["x"]}))
