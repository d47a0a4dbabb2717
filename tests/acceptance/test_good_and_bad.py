"""Ten good and ten bad files, each differently bad: ten results, ten errors that a newcomer understands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.harness import REQUEST, House, house

BAD: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "unknown-key.yaml": (REQUEST + "stepz: 20\n", ("line 6", "stepz", "steps")),
    "wrong-type.yaml": (REQUEST.replace("steps: 2", 'steps: "twenty"'), ("line 5", "steps")),
    "broken.yaml": ("workflow: flux-dev\nprompt: [a lake\n", ("line",)),
    "duplicate.yaml": (REQUEST + "prompt: again\n", ("line 6", "prompt")),
    "bomb.yaml": ("a: &a [x, x]\nb: &b [*a, *a]\nworkflow: flux-dev\nprompt: *b\n", ("line 1",)),
    "no-prompt.yaml": ("workflow: flux-dev\n", ("prompt",)),
    "no-workflow.yaml": ("workflow: fluxdev\nprompt: a lake\n", ("fluxdev", "flux-dev")),
    "no-lora.yaml": (REQUEST + "loras: [style_aa.safetensors]\n", ("style_aa.safetensors", "style_a.safetensors")),
    "too-many.yaml": (REQUEST + "count: 1000000\n", ("count", "1000")),
    "no-place.yaml": (REQUEST + "fps: 8\n", ("fps", "no place")),
}


def told(report: dict[str, object]) -> str:
    """Everything that an error file tells, as one text; lines as `line 3`."""
    error = report["error"]
    assert isinstance(error, dict)
    problems = error.get("problems", [])
    lines = [f"line {problem['line']}" for problem in problems if "line" in problem]
    return " ".join([str(error), *lines])


def as_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def drop_all(home: House) -> None:
    for n in range(10):
        home.drop(f"good-{n}.yaml", REQUEST + f"seed: {n}\n")
    for name, (text, _) in BAD.items():
        home.drop(name, text)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
async def test_ten_good_and_ten_bad_files(tmp_path: Path, kind: str) -> None:
    """Nothing left behind, nothing lost, every byte still there, and the exit code says that something failed."""
    async with house(tmp_path, kind) as (home, simulator):
        drop_all(home)
        assert await home.once() == 1
        done, failed = home.reports("done"), home.reports("failed")
        assert sorted(done) == sorted(f"good-{n}.yaml" for n in range(10))
        assert sorted(failed) == sorted(BAD)
        missing = {name: [w for w in words if w not in told(failed[name])] for name, (_, words) in BAD.items()}
        assert {name: words for name, words in missing.items() if words} == {}
        assert len(simulator.posted) == len(home.rows()) == 10
        assert home.left() == []
        requests = home.places.requests()
        assert {name: requests[f"failed/{name}"] for name in BAD} == {name: as_bytes(t) for name, (t, _) in BAD.items()}


async def test_odd_things_are_put_away_with_a_reason(tmp_path: Path) -> None:
    """A symlink, a pipe, a giant, an empty file, a folder, a name that is no UTF-8: an error file each."""
    async with house(tmp_path) as (home, simulator):
        inbox = tmp_path / "requests"
        inbox.mkdir()
        (inbox / "link.yaml").symlink_to("/etc/passwd")
        os.mkfifo(inbox / "pipe.yaml")
        (inbox / "giant.yaml").write_bytes(b"#" * 300_000)
        (inbox / "empty.yaml").write_bytes(b"")
        (inbox / "folder.yaml").mkdir()
        Path(os.fsdecode(os.fsencode(inbox) + b"/caf\xe9.yaml")).write_bytes(b"prompt: x\n")
        assert await home.once() == 1
        names = ["caf\\xe9.yaml", "empty.yaml", "folder.yaml", "giant.yaml", "link.yaml", "pipe.yaml"]
        assert sorted(home.reports("failed")) == names
        assert "root:" not in str(home.reports("failed"))
        assert simulator.posted == []
        assert home.left() == []
