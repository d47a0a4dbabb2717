"""The verbs that control a service, when none answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.harness import Folders, House, house
from tests.acceptance.verbs import Said, comfygen


@pytest.mark.parametrize("words", ["jobs", "show x", "cancel x", "retry x", "pause", "drain", "resume"])
async def test_without_a_service_there_is_one_clear_line(tmp_path: Path, words: str) -> None:
    """Exit code 69, and where it was looked for; also with --json."""
    home = House(tmp_path, "http://127.0.0.1:1", Folders(tmp_path))
    home.config.write_text(home.config.read_text("utf-8").replace("127.0.0.1:0", "127.0.0.1:1"), "utf-8")
    for place in (("--config", home.config), ("--url", "http://127.0.0.1:1", "--json")):
        said = Said(*await comfygen(*words.split(), *place))
        assert (said.code, said.out, said.err.count("\n")) == (69, "", 1)
        assert "No service answers at http://127.0.0.1:1. Is it running" in said.err


async def test_what_answers_may_be_another_server(tmp_path: Path) -> None:
    """ComfyUI itself, say; and a configured port 0 is nobody's address."""
    async with house(tmp_path) as (home, simulator):
        said = Said(*await comfygen("jobs", "--url", simulator.url))
        assert (said.code, said.out, said.err.count("\n")) == (69, "", 1)
        assert "is not comfygend" in said.err
        said = Said(*await comfygen("jobs", "--config", home.config))
        assert (said.code, said.err.count("\n"), "Give --url" in said.err) == (78, 1, True)
