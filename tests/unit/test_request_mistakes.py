"""What a newcomer is told about a request file that is wrong: every mistake, its place, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from pydantic import BaseModel, ValidationError

from comfygen.errors import Problem, RequestInvalid
from comfygen.presets import LoraPresetEntry, PresetEntry
from comfygen.request import KEYS, Request, parse_requests
from comfygen.request.loras import LoraEntry
from comfygen.request.mistakes import TRANSLATIONS

HEAD = "workflow: w\nprompt: p\n"
IMAGE = "\ninput_image: x.png"
NO_FOLDER = "must be a bare file name, without a folder."
ONE_LINE = "must be one line without tabs, and without blanks at its ends."
WRONG: list[tuple[str, str, str, str | None]] = [
    # what the third line says; the field; the message; the hint
    ('steps: "20"', "steps", 'must be a whole number, not the text "20".', "Write 20 without quotes."),
    ("steps: 1e3", "steps", "must be a whole number, not the number 1000.0.", "Write 1000."),
    ("steps: 20.5", "steps", "must be a whole number, not the number 20.5.", None),
    ("steps: true", "steps", "must be a whole number, not true.", None),
    ("steps: 0", "steps", "0 is too small.", None),
    ("steps: 10001", "steps", "10001 is too large.", None),
    (
        "seed: 0123",
        "seed",
        "0123 has a leading zero: YAML would read it as octal.",
        "Drop the zero, or put it in quotes if it is a text.",
    ),
    ("seed: -2", "seed", "-2 is too small.", None),
    ("seed: 18446744073709551616", "seed", "18446744073709551616 is too large.", None),
    ("seed: -1.0", "seed", "must be a whole number, not the number -1.0.", "Write -1."),
    ("cfg: .nan", "cfg", ".nan is no finite number.", "Put it in quotes if it is a text."),
    ('cfg: "7.5"', "cfg", 'must be a number, not the text "7.5".', "Write 7.5 without quotes."),
    ("cfg: false", "cfg", "must be a number, not false.", None),
    ("cfg: high", "cfg", 'must be a number, not the text "high".', None),
    ("cfg: 100.5", "cfg", "100.5 is too large.", None),
    ("denoise: 1.01", "denoise", "1.01 is too large.", None),
    ("fps: 0", "fps", "0 is too small.", None),
    ("width: 15", "width", "15 is too small.", None),
    ("height: 16385", "height", "16385 is too large.", None),
    ("validate: yes", "validate", 'must be true or false, not the text "yes".', "Write true."),
    ("metadata: 0", "metadata", "must be true or false, not the number 0.", "Write false."),
    ("preset: 5", "preset", "must be a text, not the number 5.", 'Write "5" in quotes.'),
    ("project: true", "project", "must be a text, not true.", 'Write "true" in quotes.'),
    ("negative_prompt: [a]", "negative_prompt", "must be a text, not a list.", None),
    ("sampler: {a: b}", "sampler", "must be a text, not a mapping.", None),
    ('id: ""', "id", "must not be empty.", None),
    (f"id: {'x' * 129}", "id", "has 129 characters; at most 128 are possible.", None),
    ('id: "a\\nb"', "id", ONE_LINE, None),
    ('id: " a"', "id", ONE_LINE, None),
    ('id: "a\\u2028b"', "id", ONE_LINE, None),
    ('id: "a\\0b"', "id", "has the control character U+0000 at character 2.", "Remove it."),
    (
        'negative_prompt: "red \\e[31m"',
        "negative_prompt",
        "has an escape sequence (U+001B) at character 5.",
        "Remove it.",
    ),
    ('negative_prompt: "\\x9b31m"', "negative_prompt", "has an escape sequence (U+009B) at character 1.", "Remove it."),
    ('negative_prompt: "a\\rb"', "negative_prompt", "has the control character U+000D at character 2.", "Remove it."),
    ('negative_prompt: "a\\x7fb"', "negative_prompt", "has the control character U+007F at character 2.", "Remove it."),
    ("output: ../../etc/passwd", "output", NO_FOLDER, 'Write "passwd".'),
    ("output: a\\b.png", "output", NO_FOLDER, 'Write "b.png".'),
    ("output: ..", "output", "must not start with a dot.", None),
    ("output: a/..", "output", NO_FOLDER, None),
    ("output: .hidden", "output", "must not start with a dot.", None),
    ("output: con.png", "output", '"con.png" is a reserved name.', "Choose another one."),
    ("output: Requests", "output", '"Requests" is a reserved name.', "Choose another one."),
    (f"resize: 512{IMAGE}", "resize", "must be WIDTHxHEIGHT, not the number 512.", "Write 1024x768, for example."),
    (f"resize: 8x512{IMAGE}", "resize", "is 8x512; each side must have 16 to 16384 pixels.", None),
    (
        "resize: [512, 512]\ninput_image: x.png",
        "resize",
        "must be WIDTHxHEIGHT, not a list.",
        "Write 1024x768, for example.",
    ),
    (
        f"crop: centre{IMAGE}",
        "crop",
        'must be one of center, cover, contain, not the text "centre".',
        "Did you mean center?",
    ),
    (f"crop: 1{IMAGE}", "crop", "must be one of center, cover, contain, not the number 1.", None),
    ("timeout: 10 minutes", "timeout", '"10 minutes" is no duration.', "Write seconds as a number, or 90s, 10m, 2h."),
    ("timeout: 0", "timeout", "0 is too small.", None),
    ("timeout: 1:30", "timeout", "1:30 would be a number to the base 60 in YAML.", "Put it in quotes if it is a text."),
    ("timeout: 200h", "timeout", "720000.0 is too large.", None),
    ("not_before: tomorrow", "not_before", '"tomorrow" is no date and time.', "Write 2026-05-01T20:00:00Z."),
    ("not_before: 2026-02-30", "not_before", '"2026-02-30" is no date and time.', "Write 2026-05-01T20:00:00Z."),
    (
        "not_before: 0001-01-01T00:00:00+23:00",
        "not_before",
        '"0001-01-01T00:00:00+23:00" is no date and time.',
        "Write 2026-05-01T20:00:00Z.",
    ),
    (
        "not_before: 1777000000",
        "not_before",
        "must be a date and time, not the number 1777000000.",
        "Write 2026-05-01T20:00:00Z.",
    ),
    ("count: 1001", "count", "1001 is too large.", None),
    (
        "tags: landscape",
        "tags",
        'must be a list, not the text "landscape".',
        "Put it on a line of its own, after `- `.",
    ),
    ("tags: [a, 5]", "tags[1]", "must be a text, not the number 5.", 'Write "5" in quotes.'),
    (f"tags: [{'a, ' * 101}]", "tags", "has 101 entries; at most 100 are possible.", None),
    ("loras: a:0.5", "loras", 'must be a list, not the text "a:0.5".', "Put it on a line of its own, after `- `."),
    ("loras: [a:500]", "loras[0].strength", "500.0 is too large.", None),
    ("loras: [a:nan]", "loras[0].strength", "must be a finite number.", None),
    (
        "loras: [{a.safetensors: 0.8}]",
        "loras[0]",
        '"a.safetensors" is no known key.',
        'Write "a.safetensors:0.8", without a blank.',
    ),
    ("loras: [{name: a, strenght: 1}]", "loras[0].strenght", "is no known key.", "Did you mean strength?"),
    ("loras: [{strength: 1}]", "loras[0].name", "is required.", None),
    ("loras: [a, 12]", "loras[1]", "must be name:strength or a mapping, not the number 12.", None),
    ("loras: [../../a]", "loras[0].name", 'must not contain a folder "..".', None),
    ('loras: ["a\\0"]', "loras[0].name", "has the control character U+0000 at character 2.", "Remove it."),
    ("stpes: 5", "stpes", "is no known key.", "Did you mean steps?"),
    ("Cfg_Scale: 5", "Cfg_Scale", "is no known key.", "Did you mean cfg?"),
    ("negative-prompt: x", "negative-prompt", "is no known key.", "Did you mean negative_prompt?"),
    ("validate_image: true", "validate_image", "is no known key.", "Did you mean validate?"),
    ("zzz: 5", "zzz", "is no known key.", None),
    ('"a\\eb": 5', '"a\\x1bb"', "is no known key.", None),
    ("matrix: [a]", "matrix", "must be a mapping (`key: value`), not a list.", None),
    (
        "matrix: {steps: 5}",
        "matrix.steps",
        "must be a list, not the number 5.",
        "Put it on a line of its own, after `- `.",
    ),
    ("matrix: {steps: []}", "matrix.steps", "has no values.", None),
    (
        'matrix: {steps: [1, "2"]}',
        "matrix.steps[1]",
        'must be a whole number, not the text "2".',
        "Write 2 without quotes.",
    ),
    (
        "matrix: {cfg: [5, 0123]}",
        "matrix.cfg[1]",
        "0123 has a leading zero: YAML would read it as octal.",
        "Drop the zero, or put it in quotes if it is a text.",
    ),
    ("matrix: {prompt: [null]}", "matrix.prompt[0]", "must be a text, not nothing.", None),
    ("matrix: {loras: [[{nam: a, name: b}]]}", "matrix.loras[0][0].nam", "is no known key.", "Did you mean name?"),
    (
        "matrix: {loras: [a:1]}",
        "matrix.loras[0]",
        'must be a list, not the text "a:1".',
        "Put it on a line of its own, after `- `.",
    ),
    ("matrix: {count: [1, 2]}", "matrix.count", "cannot vary.", None),
    ("matrix: {smapler: [a]}", "matrix.smapler", "is no known key.", "Did you mean sampler?"),
    ("matrix: {steps: [1, 2, 3], cfg: [1, 2]}\ncount: 500", "matrix", "makes 3 x 2 x 500 = 3000 jobs.", None),
    ("crop: cover", "crop", "needs an input image.", "Add `input_image: …`, or remove crop."),
    (
        "matrix: {input_image: [a.png, null]}\nresize: 64x64",
        "resize",
        "needs an input image.",
        "Add `input_image: …`, or remove resize.",
    ),
    ("prompt: q", "prompt", "is given twice.", "Line 2 has it already: remove one of the two."),
]


def refused(text: str | bytes) -> tuple[Problem, ...]:
    """What the parser has against a file."""
    with pytest.raises(RequestInvalid) as caught:
        parse_requests(text.encode() if isinstance(text, str) else text, file="x.yaml")
    return caught.value.problems


@pytest.mark.parametrize(("line", "field", "message", "hint"), WRONG, ids=[line[:40] for line, *_ in WRONG])
def test_a_wrong_line_is_explained(line: str, field: str, message: str, hint: str | None) -> None:
    """One wrong line is one problem, with the file, the line, the field, what is wrong and what to write."""
    [problem] = refused(HEAD + line)
    where = 4 if field == "resize" and line.startswith("matrix") else 3
    assert ("x.yaml", where, field, message, hint) == (
        problem.file,
        problem.line,
        problem.field,
        problem.message,
        problem.hint,
    )


@pytest.mark.parametrize("field", ["workflow", "output"])
@pytest.mark.parametrize(
    "value", ["../../etc/passwd", "/etc/passwd", "..", "a\\b", ".x", "workflows/flux-dev.json", "''", "a\\0"]
)
def test_a_file_name_cannot_leave_its_folder(field: str, value: str) -> None:
    """Neither a workflow nor an output may name a folder, a hidden file, or the folder above."""
    others = {"workflow": "prompt: p\n", "output": HEAD}[field]
    assert [field] == [problem.field for problem in refused(f"{others}{field}: {value}\n")]


def test_a_workflow_has_no_two_dots() -> None:
    """Two dots have no place in the name of a workflow, not even in the middle."""
    assert refused("prompt: p\nworkflow: a..json\n")[0].message == 'must not contain "..".'


@pytest.mark.parametrize("value", ["", '""', '" \\n\\t"', "|\n  \n"])
def test_a_prompt_must_say_something(value: str) -> None:
    """An empty prompt is refused, however it is spelled."""
    [problem] = refused(f"workflow: w\nprompt: {value}\n")
    assert (problem.field, problem.message in ("is required.", "must not be empty.")) == ("prompt", True)


def test_what_is_allowed_is_told() -> None:
    """Beside what is wrong stands what would be right."""
    problems = refused(f"{HEAD}steps: 0\ncrop: x\nzzz: 1\nloras: [a:500]\nmatrix: {{cfg: [.nan, 101]}}{IMAGE}")
    number, strength = "a number from 0 to 100", "a number from -100 to 100"
    expected = ["a whole number from 1 to 10000", "center, cover or contain", ", ".join(KEYS), strength, number, number]
    assert expected == [problem.allowed for problem in problems]


def test_a_mapping_is_checked_like_a_file() -> None:
    """from_json gives the same answers, without file and line."""
    with pytest.raises(RequestInvalid) as caught:
        Request.from_json({"workflow": "w", "prompt": "\ud83d", "steps": 10**5000, "cfg": 10**400, "tags": {1}})
    found = {problem.field: problem.message for problem in caught.value.problems}
    assert found == {
        "prompt": "has half a surrogate pair (U+D83D) at character 1.",
        "steps": "with very many digits is too large.",
        "cfg": "must be a number, not the number with very many digits.",
        "tags": "must be a list, not a set.",
    }


# fmt: off
ODD: list[object] = [
    None, True, -1, 0, 5, 10**6, 10**30, -1.5, 1e3, 1e9, float("nan"), float("inf"), "", "x", "20", "\0", "\ud800",
    b"x", {1, 2}, (), ("x",), [], ["x"], [5], [["x"]], ["x"] * 101, [{}], [{"name": 5}], {}, {"x": 1}, {"x": [1]},
]
# fmt: on


def error_types(model: type[BaseModel], names: Iterable[str]) -> Iterator[str]:
    """The kinds of errors that odd values run into: as the whole value, and for every key of it."""
    for value in [*ODD, *({name: value} for name in names for value in ODD)]:
        try:
            model.model_validate(value)
        except ValidationError as error:
            yield from (details["type"] for details in error.errors())


def test_every_kind_of_error_is_translated() -> None:
    """No sentence of pydantic's own can reach a person."""
    models: list[tuple[type[BaseModel], Iterable[str]]] = [(Request, KEYS), (LoraEntry, LoraEntry.model_fields)]
    models += [(PresetEntry, PresetEntry.model_fields), (LoraPresetEntry, LoraPresetEntry.model_fields)]
    found = {kind for model, names in models for kind in error_types(model, names)}
    assert set() == found - set(TRANSLATIONS)
    assert len(found) > 12
