"""Request files as a whole: several documents, files that are no requests, caps, and files full of anything."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comfygen.errors import Problem, RequestInvalid
from comfygen.request import KEYS, parse_requests
from tests.unit.strategies import few, tricky_words

HEAD = "workflow: w\nprompt: p\n"


def refused(text: str | bytes) -> tuple[Problem, ...]:
    """What the parser has against a file."""
    with pytest.raises(RequestInvalid) as caught:
        parse_requests(text.encode() if isinstance(text, str) else text, file="x.yaml")
    return caught.value.problems


def test_all_mistakes_of_all_documents_are_told_at_once() -> None:
    """Strict rules and the schema are reported together, from top to bottom, with the lines of the file."""
    text = f"prompt: 5\nsteps: x\nsteps: 3\n---\n---\n- a\n---\nhello: world\n{HEAD}cfg: 0123\n---\nhello\n"
    found = [(problem.line, problem.field) for problem in refused(text)]
    assert found == [
        (1, "workflow"),
        (1, "prompt"),
        (2, "steps"),
        (3, "steps"),
        (5, None),
        (6, None),
        (8, "hello"),
        (11, "cfg"),
        (13, None),
    ]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "the file is empty.", "Write at least `workflow: …` and `prompt: …`."),
        ("# nothing\n", "the file is empty.", "Write at least `workflow: …` and `prompt: …`."),
        ("---\n", "the file is empty.", "Write at least `workflow: …` and `prompt: …`."),
        (f"{HEAD}---\n---\n{HEAD}", "document 2 is empty.", "Remove one of the `---` around it."),
        (
            "- a\n",
            "a request is a mapping with `prompt: …` and `workflow: …`, not a list.",
            "Separate several requests by a line `---`.",
        ),
        ("a city\n", 'a request is a mapping with `prompt: …` and `workflow: …`, not the text "a city".', None),
        (
            "prompt:a\n",
            'a request is a mapping with `prompt: …` and `workflow: …`, not the text "prompt:a".',
            "Put a blank after the colon of each key.",
        ),
        ("prompt: 'a\n", "a quote is opened here and never closed.", "Close it."),
    ],
)
def test_a_file_that_is_no_request_is_told_so(text: str, message: str, hint: str | None) -> None:
    """Empty files, empty documents, lists and texts each get an answer of their own."""
    [problem] = refused(text)
    assert (message, hint) == (problem.message, problem.hint)


NODES = {"3": {"class_type": "KSampler", "inputs": {}}}


@pytest.mark.parametrize(
    "workflow", [NODES, {"prompt": NODES, "client_id": "x"}, {"nodes": [], "links": [], "version": 0.4}]
)
def test_a_workflow_is_recognised(workflow: dict[str, object]) -> None:
    """Someone who drops a workflow instead of a request is told where it belongs."""
    [problem] = refused(json.dumps(workflow))
    assert (
        problem.message,
        problem.hint,
    ) == ("this is a workflow, not a request.", "Put it into workflows/ and name it with `workflow:`.")


def test_a_file_as_a_whole_is_capped() -> None:
    """Many documents cannot get around the cap on jobs."""
    [problem] = refused(f"{HEAD}count: 600\n---\n{HEAD}count: 600\n")
    assert (problem.message, problem.hint) == ("its 2 documents make 1200 jobs.", "Split the file.")


def test_endless_mistakes_are_cut_off() -> None:
    """A file that is wrong everywhere gets a hundred answers and a count of the others."""
    problems = refused("---\n- a\n" * 300)
    assert (len(problems), problems[-1].message) == (101, "… and 200 more mistakes.")


def test_the_headline_counts() -> None:
    """The error says at once how much there is to mend, and carries the problems as JSON."""
    with pytest.raises(RequestInvalid) as caught:
        parse_requests(b"workflow: w\nsteps: x\n", file="x.yaml")
    assert caught.value.to_json()["message"] == "The request cannot be used: 2 mistakes."
    assert len(caught.value.to_json()["problems"]) == 2


lines = st.tuples(
    st.sampled_from([*KEYS, "x"]),
    tricky_words | st.sampled_from(["[a:1, {name: 5}]", "{steps: [1, x]}", "-1", "1e400", "|"]),
)


@few
@given(st.lists(lines.map(": ".join), max_size=8).map(lambda rows: "\n".join(rows).encode()) | st.binary(max_size=40))
@example(b"matrix: {" + b", ".join(b"k%d: [1, 1]" % n for n in range(15000)) + b"}")
def test_whatever_a_file_holds_only_request_invalid_is_raised(text: bytes) -> None:
    """Every file is a request or a list of problems that name the file."""
    try:
        assert parse_requests(text, file="x.yaml")
    except RequestInvalid as error:
        assert {"x.yaml"} == {problem.file for problem in error.problems}
