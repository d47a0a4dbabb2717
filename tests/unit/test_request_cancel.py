"""Cancel requests: files with the single key `cancel`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfygen.errors import RequestInvalid
from comfygen.request import parse_cancel


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"cancel: calendar-may\n", "calendar-may"),
        (b'{"cancel": "01m8g1w2xr79f6xn81jf9j1nhk"}', "01m8g1w2xr79f6xn81jf9j1nhk"),
        (b"# a comment\ncancel: ' k3v7qw2mzt5a '\n", "k3v7qw2mzt5a"),
        (b"cancel: 42\n", "42"),
    ],
)
def test_a_file_that_cancels_names_what(text: bytes, named: str) -> None:
    """The id of a request or a job, or an `id:`, which may well look like a number."""
    assert parse_cancel(text, file="c.yaml") == named


@pytest.mark.parametrize(
    "text", [b"", b"prompt: a lake\nworkflow: flux-dev\n", b"- cancel\n", b"cancel", b"{", b"\xff"]
)
def test_other_files_cancel_nothing(text: bytes) -> None:
    """Whether they are requests or rubbish is for somebody else to say."""
    assert parse_cancel(text, file="c.yaml") is None


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"prompt: a lake\ncancel: x\n", 2, "stands alone"),
        (b"cancel: x\n---\ncancel: y\n", 1, "stands alone"),
        (b"cancel:\n", 1, "names nothing"),
        (b"cancel: true\n", 1, "names nothing"),
        (b"cancel: [x]\n", 1, "names nothing"),
        (b"cancel: '  '\n", 1, "names nothing"),
        (b"cancel: " + b"x" * 200, 1, "names nothing"),
    ],
)
def test_a_cancel_that_is_mixed_up_is_refused(text: bytes, line: int, message: str) -> None:
    """With its place: nothing is cancelled by half."""
    with pytest.raises(RequestInvalid) as caught:
        parse_cancel(text, file="c.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.field) == ("c.yaml", line, "cancel")
    assert message in problem.message


@given(st.binary(max_size=60))
def test_no_file_makes_it_stumble(text: bytes) -> None:
    """An answer or RequestInvalid, whatever was dropped."""
    try:
        parse_cancel(text, file="c.yaml")
    except RequestInvalid as error:
        assert error.problems
