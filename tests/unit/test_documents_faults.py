"""Files that the loader must refuse: quickly, with the line, and in words that a newcomer understands."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comfygen.documents import MAX_BYTES, MAX_DEPTH, load_documents
from comfygen.errors import InvalidInput, Problem
from tests.unit.strategies import few

# file -> line and the beginning of the message
UNREADABLE: dict[str, tuple[int, str]] = {
    "prompt: a city: at night\n": (1, "a colon stands where no key can be."),
    "a: 1\nb: [1, 2\n": (2, "a bracket is opened here and never closed."),
    "a: 1\nb: {c: 1\n": (2, "a bracket is opened here and never closed."),
    'a: 1\nb: "x\nc: 1\n': (2, "a quote is opened here and never closed."),
    'a: "x\n---\nb: 1\n': (1, "a quote is opened here and never closed."),
    "a: 'it's'\n": (1, "this line does not fit."),
    "a: 1\n\tb: 2\n": (2, "a tab cannot indent."),
    "a:\n\t- 1\n": (2, "a tab cannot indent."),
    "a: @x\n": (1, "a text cannot start with @"),
    "a: `x`\n": (1, "a text cannot start with `"),
    "a: %x\n": (1, "a text cannot start with %"),
    "prompt: a\nrobot\nb: 1\n": (2, "this line is no `key: value`."),
    "- a\nb: 1\n": (2, "this line does not fit into the list above."),
    "a: - b\n": (1, "a list cannot start here."),
    'a: "\\q"\n': (1, "a backslash in double quotes"),
    'a: "\\ud800"\n': (1, "a backslash in double quotes"),
    "a: [1,,]\n": (1, "a value is missing, or a bracket is not closed."),
    "a: éééé\n\n\nb: \x07\n\n\n": (4, "the file has a control character."),
    "a: 1\nb: \x07\n": (2, "the file has a control character."),
    "a: 1\n%x\n": (2, "a line cannot start with %."),
    "%YAML 3.0\n---\na: 1\n": (1, "it is no valid YAML."),
    "  a: 1\nb: 2\n": (2, "this line does not fit."),
    "a: |x\n  b\n": (1, "it is no valid YAML."),
    "\u2028a: %\n": (2, "a text cannot start with %"),
    "a: &x 1\n": (1, "anchors (&name) are not supported."),
    "a: 1\nb: *a\n": (2, "aliases (*name) are not supported."),
    "? *a\n: 1\n": (1, "aliases (*name) are not supported."),
    "a: !!str 1\n": (1, "tags (!name) are not supported."),
    "a: !!python/object:os.system x\n": (1, "tags (!name) are not supported."),
    "a: ! x\n": (1, "tags (!name) are not supported."),
    "a: 1\n<<: {b: 1}\n": (2, "merge keys (<<) are not supported."),
    "prompt: {{ subject }}\n": (1, "a key must be a simple text."),
    "? [a]\n: 1\n": (1, "a key must be a simple text."),
    "[" * 5000: (1, "it is nested far too deep."),
    "- " * 5000: (1, f"it is nested deeper than {MAX_DEPTH} levels."),
}


def refused(text: bytes) -> tuple[Problem, ...]:
    """What the loader has against a file."""
    with pytest.raises(InvalidInput) as caught:
        load_documents(text, file="x.yaml")
    return caught.value.problems


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: repr(text)[:30])
def test_an_unreadable_file_is_explained(text: str) -> None:
    """Each syntax error names the file and the line where its cause stands, and a remedy."""
    [problem] = refused(text.encode())
    line, message = UNREADABLE[text]
    assert ("x.yaml", line) == (problem.file, problem.line)
    assert problem.message.startswith(message)
    assert problem.hint


def test_a_bomb_of_aliases_is_refused_at_its_first_anchor() -> None:
    """Nine levels of nine aliases are never expanded."""
    rows = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    [problem] = refused("\n".join(rows).encode())
    assert (problem.line, problem.message) == (1, "anchors (&name) are not supported.")


def test_a_recursive_alias_is_refused() -> None:
    """A value that contains itself is refused like any other anchor."""
    assert refused(b"a: &a [*a]\n")[0].message == "anchors (&name) are not supported."


def test_duplicate_keys_are_named_with_both_lines() -> None:
    """A key that is given twice is refused, wherever it lies, all of them at once."""
    problems = refused(b"a: 1\nb: {c: 1, c: 2}\na: 2\n'a': 3\n")
    assert [(problem.field, problem.line) for problem in problems] == [("b.c", 2), ("a", 3), ("a", 4)]
    assert problems[1].hint == "Line 1 has it already: remove one of the two."


def test_the_deepest_nesting_that_is_allowed() -> None:
    """MAX_DEPTH levels are read, one more is refused."""
    assert len(load_documents(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, file="x")) == 1
    deeper = refused(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert f"it is nested deeper than {MAX_DEPTH} levels." == deeper[0].message


def test_a_file_that_is_too_large_is_not_parsed() -> None:
    """The cap is on bytes, before anything else looks at them."""
    assert load_documents(b"#" * MAX_BYTES, file="x") == ()
    assert (
        f"it has {MAX_BYTES + 1} bytes; at most {MAX_BYTES} are possible." == refused(b"[" * (MAX_BYTES + 1))[0].message
    )


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"a: 1\nb: caf\xe9\n", 2, "it is no UTF-8 text."),
        (b"\xff\xfea", 1, "it is no UTF-16 text."),
        ("a: 1".encode("utf-16-le"), 1, "the file has a control character."),
        ("a: 1".encode("utf-32"), 1, "the file has a control character."),
        (b"\x89PNG\r\n\x1a\n\0\0", 1, "it is no UTF-8 text."),
    ],
)
def test_a_file_that_is_no_text_says_so(text: bytes, line: int, message: str) -> None:
    """Other encodings and pictures are refused with the line of the first odd byte."""
    [problem] = refused(text)
    assert (line, message) == (problem.line, problem.message)


def test_endless_mistakes_are_cut_off() -> None:
    """Of a file that is wrong everywhere only the first hundred mistakes are told."""
    assert len(refused(b"- 0123\n" * 5000)) == 100


PIECES = st.sampled_from(
    [
        "a",
        "b: ",
        ": ",
        "- ",
        "\n",
        "  ",
        "\t",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "\\",
        "|",
        ">",
        "&a ",
        "*a",
        "!x ",
        "#",
        "---\n",
        "...\n",
        "%",
        "?",
        "<<: ",
        "0123",
        "1e999",
        "\ufeff",
        "\x85",
        "\0",
        "🌄",
        "\\ud83d",
    ]
)


@few
@given(st.lists(PIECES, max_size=30).map(lambda parts: "".join(parts).encode()) | st.binary(max_size=60))
@example(b"\xff\xfe\x00\xd8")
@example(b'{"a": "\\ud83d\\ud83d"}')
@example(b"1" * 5000)
def test_whatever_a_file_holds_only_invalid_input_is_raised(text: bytes) -> None:
    """No ValueError, RecursionError or YAMLError ever escapes, and every problem names the file."""
    try:
        load_documents(text, file="x.yaml")
    except InvalidInput as error:
        assert {"x.yaml"} == {problem.file for problem in error.problems}
