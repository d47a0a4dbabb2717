"""The strict YAML loader: what it reads, and what it reads back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfygen.documents import Document, dump_document, load_documents, one_document, read_document, read_documents
from comfygen.documents.plain import read_plain
from comfygen.errors import InvalidInput, Problem
from tests.unit.strategies import clean_chars, few, tricky_words

WORDS: dict[str, object] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "False": False,
    "yes": "yes",
    "no": "no",
    "on": "on",
    "off": "off",
    "y": "y",
    "0": 0,
    "-1": -1,
    "+5": 5,
    "18446744073709551615": 2**64 - 1,
    "18446744073709551616": 2**64,
    "1e3": 1000.0,
    "1E-2": 0.01,
    "7.": 7.0,
    ".5": 0.5,
    "1_000": "1_000",
    "1.2.3": "1.2.3",
    "2026-05-01": "2026-05-01",
    "2026-05-01 20:00:00": "2026-05-01 20:00:00",
    "2026-02-30": "2026-02-30",
    "127.0.0.1:8189": "127.0.0.1:8189",
    "a:0.8": "a:0.8",
    "512x512": "512x512",
    "nan": "nan",
    "=": "=",
    "１２": "１２",
}
DISGUISED = [
    "0123",
    "-007",
    "00",
    "0x1F",
    "0o17",
    "0b1",
    "12:30",
    "16:9",
    "1:30:00",
    "1:30.5",
    ".nan",
    "-.inf",
    "NaN",
    "1e999",
    "9" * 101,
]


@pytest.mark.parametrize(("word", "value"), WORDS.items(), ids=lambda part: repr(part)[:30])
def test_a_plain_word_is_what_it_looks_like(word: str, value: object) -> None:
    """An unquoted word becomes null, a boolean, a decimal number or text, and nothing else."""
    assert one_document(f"key: {word}".encode(), file="x").value == {"key": value}
    assert type(read_plain(word)[0]) is type(value)


@pytest.mark.parametrize("word", DISGUISED, ids=lambda word: word[:12])
def test_a_number_in_disguise_is_refused(word: str) -> None:
    """Octal, hexadecimal, sexagesimal and endless numbers are refused with their place."""
    with pytest.raises(InvalidInput) as caught:
        load_documents(f"a: 1\nb:\n- {word}\n".encode(), file="x.yaml")
    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.field) == ("x.yaml", 3, "b[0]")
    assert problem.hint is not None


@pytest.mark.parametrize("word", [*WORDS, *DISGUISED], ids=lambda word: word[:12])
def test_a_quoted_word_is_text(word: str) -> None:
    """Quotes make text of anything."""
    assert one_document(f"key: '{word}'".encode(), file="x").value == {"key": word}


def test_every_key_and_entry_has_its_line() -> None:
    """Lines are 1-based and those of the key itself, not of its value."""
    text = b"# comment\na:\n  b: 1\n  c: |\n    long\n    text\nd:\n  - x\n  - {e: 1,\n     f: 2}\n"
    expected = {(): 2, ("a",): 2, ("a", "b"): 3, ("a", "c"): 4, ("d",): 7, ("d", 0): 8, ("d", 1): 9}
    lines = {**expected, ("d", 1, "e"): 9, ("d", 1, "f"): 10}
    assert lines == dict(one_document(text, file="x").lines)


def test_a_place_without_a_line_of_its_own_has_that_around_it() -> None:
    """What a message is about may be missing from the file; then the nearest place counts."""
    document = one_document(b"\na:\n  b: 1\n", file="x")
    assert [document.line(("a", "b", "z")), document.line(("a", "z")), document.line(("z",))] == [3, 2, 2]
    assert Document(value=None, lines={}).line(("a",)) is None


def test_several_documents_keep_their_lines() -> None:
    """Each document of a file counts its lines from the top of the file."""
    documents = load_documents(b"a: 1\n---\nb: 2\n---\n", file="x")
    assert [(d.value, d.line(())) for d in documents] == [({"a": 1}, 1), ({"b": 2}, 3), (None, 5)]


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# only a comment\n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_documents(text: bytes) -> None:
    """An empty file is no document, and as the only document of a file an empty mapping."""
    assert load_documents(text, file="x") == ()
    assert one_document(text, file="x").value == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_byte_order_marks_and_line_ends_do_not_matter(encoding: str, newline: str) -> None:
    """UTF-8, with or without its mark, and UTF-16 with a mark read alike, whatever ends a line."""
    text = f"prompt: Grüße 🌄{newline}long: |{newline}  a{newline}  b{newline}"
    assert one_document(text.encode(encoding), file="x").value == {"prompt": "Grüße 🌄", "long": "a\nb\n"}


@pytest.mark.parametrize("indent", [None, 2, "\t"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_is_read_as_it_is(indent: int | str | None, ascii_only: bool) -> None:
    """JSON from any writer reads back equal: escapes beyond U+FFFF, slashes and tabs included."""
    value: object = {"a": 'x "y" \\ud83d / 🌄', "b": [1, -2.5e-7, True, None, {}, []], "c": {"d": 2**64 - 1}}
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).replace("/", "\\/")
    assert value == one_document(text.encode(), file="x").value


def test_read_document_keeps_values_beside_mistakes() -> None:
    """A caller can go on with a document that breaks the strict rules, and knows where not to look."""
    document = read_document(b"a: 0123\nb: 1\nb: 2\n", file="x")
    assert document.value == {"a": "0123", "b": 1}
    assert [document.doubts(("a",)), document.doubts(("a", 0)), document.doubts(("b",))] == [True, True, False]
    assert [problem.field for problem in document.mistakes] == ["a", "b"]


def test_a_second_document_is_refused_where_one_is_wanted() -> None:
    """A file of settings has one document."""
    with pytest.raises(InvalidInput) as caught:
        one_document(b"a: 1\n---\nb: 0123\n", file="x")
    assert [problem.line for problem in caught.value.problems] == [3, 3]


def test_what_was_read_before_is_reported_with_what_cannot_be_read() -> None:
    """The mistakes of earlier documents are not lost when a later one is unreadable."""
    with pytest.raises(InvalidInput) as caught:
        read_documents(b"a: 0123\n---\nb: [1\n", file="x")
    assert [problem.line for problem in caught.value.problems] == [1, 3]
    assert isinstance(caught.value.problems[0], Problem)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(clean_chars)
    | tricky_words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(clean_chars, max_size=10).filter(lambda k: k != "<<"), inner, max_size=3)
    ),
    max_leaves=8,
)


@few
@given(values)
def test_what_is_dumped_is_read_back(value: object) -> None:
    """Any value of mappings, lists, texts and numbers survives a file."""
    [document] = load_documents(dump_document({"value": value}).encode(), file="x")
    assert {"value": value} == document.value


@few
@given(values)
def test_json_and_yaml_agree(value: object) -> None:
    """A JSON file says the same through the YAML loader as through a JSON parser."""
    assert {"value": value} == one_document(json.dumps({"value": value}).encode(), file="x").value


def test_dumped_texts_are_pleasant_to_read() -> None:
    """Long texts become blocks, words that look like something else are quoted, nothing is an anchor."""
    shared = ["a"]
    text = dump_document({"prompt": "a robot\nin a garden\n", "id": "0123", "x": "1e3", "l": shared, "m": shared})
    assert text == 'prompt: |\n  a robot\n  in a garden\nid: "0123"\nx: "1e3"\nl:\n- a\nm:\n- a\n'
