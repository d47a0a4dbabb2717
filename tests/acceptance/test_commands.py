"""`comfygend` as a command: what it says, and with which exit code."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from comfygend.service import ROLES
from tests.acceptance.harness import COMFYGEND, GUARD, Folders, House, house


async def comfygend(*words: object, **environ: str) -> tuple[int | None, str]:
    """Run it to its end; its exit code and all that it says."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("COMFYGEN_")}
    process = await asyncio.create_subprocess_exec(
        COMFYGEND,
        *(str(word) for word in words),
        env=clean | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(GUARD):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_help_explains_every_option_and_exit_code() -> None:
    """For whoever sees it for the first time."""
    code, said = await comfygend("--help")
    assert code == 0
    words = ("--config", "--check", "--once", "--only", "78 configuration", *ROLES)
    assert [word for word in words if word not in " ".join(said.split())] == []


async def test_a_wrong_command_line_is_a_usage_error() -> None:
    """Exit code 2, and the option that was meant."""
    code, said = await comfygend("--onse")
    assert code == 2
    assert "--once" in said


async def test_a_wrong_configuration_is_told_with_every_mistake(tmp_path: Path) -> None:
    """Exit code 78; file, line, and what was probably meant; no traceback, and nothing is created."""
    (tmp_path / "comfygen.yaml").write_text("state_dirr: ./state\nhttp: 8189\n", encoding="utf-8")
    code, said = await comfygend("--config", tmp_path / "comfygen.yaml", "--once")
    assert code == 78
    assert [word for word in ("comfygen.yaml:1", "state_dir", "comfygen.yaml:2", "HOST:PORT") if word not in said] == []
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["comfygen.yaml"]


async def test_a_configuration_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Also one that the environment names."""
    code, said = await comfygend(COMFYGEN_CONFIG=str(tmp_path / "nowhere.yaml"))
    assert code == 78
    assert "nowhere.yaml: No such file" in said


async def test_a_check_looks_at_everything_and_says_what_is_wrong(tmp_path: Path) -> None:
    """All at once; a ComfyUI that is away is a warning, a ledger that is none an error."""
    async with house(tmp_path) as (home, simulator):
        code, said = await comfygend("--config", home.config, "--check")
        assert code == 0
        assert [what for what in ("workflows", "inbox", "ledger", "store") if f"ok    {what}" not in said] == []
        assert f"ok    ComfyUI {simulator.url}: version 0.28.1 (simulated)" in said
    (tmp_path / "state" / "queue.db").write_bytes(b"this is no database" * 1000)
    (tmp_path / "presets.yaml").write_text("presets: 7\n", encoding="utf-8")
    home = House(tmp_path, simulator.url, Folders(tmp_path), extra="presets: ./presets.yaml\n")
    code, said = await comfygend("--config", home.config, "--check")
    assert code == 1
    assert [mark for mark in ("BAD   ledger", "BAD   workflows and presets", "warn  ComfyUI") if mark not in said] == []
