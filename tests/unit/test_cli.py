"""The command line: what every verb shares."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from comfygen import __version__
from comfygen.cli import VERBS, exit_code, main
from comfygen.errors import (
    ComfyGenError,
    ComfyUIUnavailable,
    ConfigInvalid,
    LedgerError,
    NotFound,
    RequestInvalid,
    StoreUnavailable,
)
from comfygen.request import request_schema

HEAVY = ("aiobotocore", "botocore", "datasette", "av", "PIL", "aiohttp", "pydantic", "sqlite_utils", "yaml", "asyncio")


def ended(*words: str) -> int:
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_help_imports_nothing_heavy() -> None:
    """It answers at once, and works where an extra is missing."""
    code = (
        "import sys\nfrom comfygen.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "[]"


def test_help_names_every_verb_and_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each."""
    assert ended("--help") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert [what for verb, what in VERBS.items() if f"{verb} {what}" not in words] == []


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`comfygen VERB --help` works for all that are named."""
    assert ended(verb, "--help") == 0
    assert capsys.readouterr().out.startswith(f"Usage: comfygen {verb} ")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The package's own."""
    assert ended("--version") == 0
    assert capsys.readouterr().out == f"comfygen, version {__version__}\n"


@pytest.mark.parametrize("words", [["nonsense"], ["--nonsense"], ["schema"], ["schema", "nonsense"]])
def test_a_wrong_command_line_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and how it is written."""
    assert ended(*words) == 2
    assert "Usage: comfygen" in capsys.readouterr().err


def test_the_schema_of_a_request_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """For editors."""
    assert ended("schema", "request") == 0
    assert json.loads(capsys.readouterr().out) == request_schema()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigInvalid(), 78),
        (RequestInvalid(), 4),
        (NotFound(), 3),
        (ComfyUIUnavailable(), 69),
        (StoreUnavailable(), 69),
        (LedgerError(), 1),
        (ComfyGenError(), 1),
    ],
)
def test_every_error_has_its_exit_code(error: ComfyGenError, code: int) -> None:
    """Scripts tell them apart."""
    assert exit_code(error) == code


def test_an_error_is_a_message_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback; what is wrong, and what to do."""
    monkeypatch.setenv("COMFYGEN_STATE_DIRR", "x")
    assert ended("history", "--config", "/nowhere/comfygen.yaml") == 78
    told = capsys.readouterr().err
    assert told.startswith("comfygen: /nowhere/comfygen.yaml: No such file")
    assert "Traceback" not in told
