"""`comfygen demo`: the main job on embedded defaults, as a newcomer sees it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfygen.images import check_image
from comfygen.sidecar import CLASSIC_KEYS
from comfygen.simulator import Simulator
from comfygen.videos import probe
from tests.acceptance.harness import GUARD, until

LORAS = "SELECT count(*) FROM generation_loras WHERE generation_key = ?"


async def demo(folder: Path, *words: str, **environ: str) -> asyncio.subprocess.Process:
    """`comfygen demo` in a folder, what it says to people in `said`."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("COMFYGEN_")}
    folder.mkdir(exist_ok=True)
    with (folder / "said").open("ab") as said:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "comfygen", "demo", "--dir", str(folder / "demo"), *words),
            env=clean | environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=said,
        )


async def told(folder: Path, **environ: str) -> dict[str, Any]:
    """What `--once --json` prints."""
    process = await demo(folder, "--once", "--json", **environ)
    async with asyncio.timeout(GUARD):
        output, _ = await process.communicate()
    assert process.returncode == 0, (folder / "said").read_text(encoding="utf-8")
    answer: dict[str, Any] = json.loads(output)
    return answer


def said(folder: Path, words: str) -> bool:
    return words in (folder / "said").read_text(encoding="utf-8")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, parent = path.parent.name, path.read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        except OSError:
            continue  # it has just ended
        if int(parent) == pid:
            found.append(int(name))
    return found


def lives(pid: int) -> bool:
    """Whether a process is there; one that only waits to be noticed is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_three_requests_become_three_generations_that_can_be_found(tmp_path: Path) -> None:
    """Each output exists, decodes, has a sidecar with the 13 keys, and a row with its LoRAs."""
    answer = await told(tmp_path)
    assert (answer["requests"], len(answer["outputs"]), answer["index_rows"]) == (3, 3, 3)
    assert answer["query_rows"] >= 1
    place = tmp_path / "demo"
    with closing(sqlite3.connect(f"file:{place}/state/index.db?mode=ro", uri=True)) as index:
        for output in answer["outputs"]:
            path = place / "outputs" / output["key"]
            assert probe(path).frames if path.suffix == ".mp4" else check_image(path.read_bytes()).width
            sidecar = json.loads(path.with_name(f"{path.name}.json").read_bytes())
            assert [key for key in CLASSIC_KEYS if key not in sidecar] == []
            assert sidecar["sha256"] == output["sha256"]
            assert index.execute(LORAS, [output["key"]]).fetchone() == (len(sidecar["lora_details"]),)
        assert index.execute("SELECT count(*) FROM generation_loras").fetchone()[0] >= 2
    await _runs_again_with_a_comfyui_of_ones_own(tmp_path)


async def _runs_again_with_a_comfyui_of_ones_own(folder: Path) -> None:
    """In the same folder: what was made before is still there, and the environment names the server."""
    (folder / "demo" / "logs" / "simulator.log").unlink()
    async with Simulator() as simulator:
        answer = await told(folder, COMFYGEN_COMFYUI__0__URL=simulator.url)
        assert (len(answer["outputs"]), answer["index_rows"], len(simulator.posted)) == (3, 6, 3)
    assert not (folder / "demo" / "logs" / "simulator.log").exists()


async def test_ctrl_c_ends_a_demo_that_serves_and_leaves_no_process(tmp_path: Path) -> None:
    """Exit code 0, and nobody is left behind."""
    process = await demo(tmp_path)
    await until(lambda: said(tmp_path, "Ctrl-C ends"), "the demo")
    started = children(process.pid)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(GUARD):
        output, _ = await process.communicate()
    assert (process.returncode, len(started)) == (0, 3)
    assert [pid for pid in started if lives(pid)] == []
    assert b"/-/gallery" in output


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
async def test_a_demo_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    """However it ends."""
    process = await demo(tmp_path)
    await until(lambda: len(children(process.pid)) == 3, "the processes")
    started = children(process.pid)
    process.kill()
    await process.wait()
    await until(lambda: not [pid for pid in started if lives(pid)], "their end")


async def test_a_request_that_fails_fails_the_demo(tmp_path: Path) -> None:
    """With what is wrong, and exit code 1; and without a process left."""
    async with Simulator(faults=[{"kind": "execution_error", "message": "the lake is dry"}]) as simulator:
        process = await demo(tmp_path, "--once", COMFYGEN_COMFYUI__0__URL=simulator.url)
        async with asyncio.timeout(GUARD):
            await process.communicate()
        assert process.returncode == 1
        assert said(tmp_path, "the lake is dry")
        assert not said(tmp_path, "Traceback")
