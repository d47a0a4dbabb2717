"""`comfygen simulator` as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from comfygen.cli.simulator import command
from comfygen.errors import InvalidInput
from tests.integration.simulating import simulated, still

PATIENCE = 60.0


@asynccontextmanager
async def started(*options: str) -> AsyncIterator[tuple[Process, str]]:
    """The command as a process on a free port, and the address it prints."""
    command_line = [sys.executable, "-m", "comfygen", "simulator", "--port", "0", *options]
    process = await asyncio.create_subprocess_exec(*command_line, stdout=PIPE)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        yield process, line.decode().split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_command_prints_its_address_and_ends_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    """One line says where it listens; it serves, logs, and a signal ends it with 0."""
    models = tmp_path / "models.yaml"
    models.write_text("loras: [only.safetensors]\n")
    async with started("--models", str(models), "--log", str(tmp_path / "log")) as (process, url):
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/models/loras") as response:
                assert await response.json() == ["only.safetensors"]
            async with session.post(f"{url}/prompt", json={"prompt": still()}) as response:
                assert response.status == 200
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    assert json.loads((tmp_path / "log").read_text().splitlines()[0])["event"] == "accepted"


@pytest.mark.parametrize("text", ["[1, 2]", "loras: one", "loras: [1]", "loras: [", "a: 1\na: 2\n"])
def test_models_file_that_cannot_be_used_is_an_error(text: str, tmp_path: Path) -> None:
    """A file of another shape is refused before anything listens."""
    (tmp_path / "models.yaml").write_text(text)
    result = CliRunner().invoke(command, ["--models", str(tmp_path / "models.yaml")])
    assert isinstance(result.exception, InvalidInput)


async def test_port_that_is_taken_is_an_error_that_says_so() -> None:
    """It ends with 1, and the message names the address."""
    async with simulated() as client:
        port = str(client.simulator.port)
        command_line = [sys.executable, "-m", "comfygen", "simulator", "--port", port]
        process = await asyncio.create_subprocess_exec(*command_line, stdout=PIPE, stderr=PIPE)
        said, complained = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, said) == (1, b"")
    assert f"127.0.0.1:{port}" in complained.decode()
