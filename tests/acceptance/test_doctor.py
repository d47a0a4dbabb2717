"""The doctor, against set-ups that are well and one in which nearly everything is wrong."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from comfygen.cli.doctor import examine
from comfygen.cli.doctor.finding import Finding, State
from comfygen.cli.doctor.service import service
from comfygen.cli.doctor.site import Site
from comfygen.config import load_config
from comfygen.resources import built_in
from comfygen.simulator import Simulator
from comfygend.board import Board
from comfygend.http import serving
from tests.acceptance.harness import GUARD, Buckets, House, house, until
from tests.minio_double import MinioDouble
from tests.minio_double.policy import parse_policy

PUBLIC = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::comfy-gen/*"}
    ],
}
PRESETS = "lora_presets:\n  painted:\n    loras: ['style_z.safetensors:0.7']\n"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variables of whoever runs the tests."""
    monkeypatch.delenv("COMFYGEN_CONFIG", raising=False)


def wrong(findings: list[Finding]) -> dict[str, Finding]:
    """What is not ok, but for what depends on the machine that runs the tests."""
    machine = {"sqlite", "user", "state_dir space", "inotify"}
    return {each.check: each for each in findings if each.state is not State.OK and each.check not in machine}


async def test_a_set_up_that_is_well(tmp_path: Path) -> None:
    """With the service running and a request behind it: nothing is wrong, and nothing is left behind."""
    async with house(tmp_path, "bucket") as (home, _):
        home.drop("lake.yaml")
        home.config.chmod(0o600)
        assert await home.once() == 0
        assert wrong(await examine(home.config)).keys() == {"service"}
        await home.start()
        await until(lambda: home.log.count("serving http") == 2)
        before = home.places.requests(), home.places.objects()
        await until(lambda: home.rows())
        found = await examine(home.config)
        assert wrong(found) == {}
        assert f"pid {home.running.pid} works" in str(found)  # type: ignore[union-attr]
        assert (home.places.requests(), home.places.objects()) == before
        assert await home.stop() == 0


def spoil(folder: Path) -> None:
    """Spoil what lies in the folder of a set-up."""
    state, requests, workflows = (folder / name for name in ("state", "requests", "workflows"))
    for place in (state, requests, workflows):
        place.mkdir()
    with closing(sqlite3.connect(state / "queue.db")) as ledger:
        ledger.execute("CREATE TABLE requests (id TEXT)")
        ledger.execute("PRAGMA user_version = 99")
    (state / "index.db").write_bytes(b"no database at all" * 500)
    (folder / "elsewhere").write_text("a file")
    (requests / "work").symlink_to("/proc/self")  # surely another file system
    (workflows / "broken.json").write_text("{")
    graph = json.loads((built_in("workflows") / "flux-dev.json").read_text(encoding="utf-8"))
    text = json.dumps(graph).replace('"KSampler"', '"KSamplerOfTomorrow"')
    (workflows / "tomorrow.json").write_text(text, encoding="utf-8")
    (folder / "presets.yaml").write_text(PRESETS, encoding="utf-8")


async def test_everything_that_is_wrong_is_named_with_a_remedy(tmp_path: Path) -> None:
    """Fourteen things are wrong, and all of them are told at once."""
    async with MinioDouble() as double, Simulator() as simulator:
        await double.make_bucket("comfy-gen")
        double.state.policies["comfy-gen"] = parse_policy(json.dumps(PUBLIC).encode(), "comfy-gen")
        double.knobs.fail_conditional("ignore")
        double.knobs.clock_offset(120)
        double.knobs.muffle()
        with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as gone:
            away = gone.getsockname()[1]
            gone.close()
            home = House(tmp_path, simulator.url, Buckets(double))
            spoil(tmp_path)
            home.config.write_text(
                home.config.read_text(encoding="utf-8")
                .replace("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}")
                .replace("comfyui:\n", f"comfyui:\n  - url: http://127.0.0.1:{away}\n")
                .replace("inbox:\n", "inbox:\n  - folder: ./requests\n  - folder: ./elsewhere\n")
                + "workflows: ./workflows\npresets: ./presets.yaml\n",
                encoding="utf-8",
            )
            found = wrong(await examine(home.config))
        expected = {
            "service",
            "http address",
            "secrets",
            "ledger",
            "index",
            f"inbox {tmp_path}/requests",
            f"inbox {tmp_path}/elsewhere",
            "workflow broken.json",
            "workflow tomorrow.json",
            f"ComfyUI http://127.0.0.1:{away}",
            f"ComfyUI {simulator.url}",
            "clocks",
            "bucket writes",
            "bucket policy",
            "notifications",
        }
        assert found.keys() == expected
        assert "not wanted: everyone may read comfy-gen/*" in found["bucket policy"].message
        assert [check for check, finding in found.items() if not finding.remedy] == []
        shutil.rmtree(tmp_path / "state")


async def test_the_troubles_of_a_running_service_are_told(tmp_path: Path) -> None:
    """What it says on /healthz, part by part, each with its hint."""
    board = Board()
    board.trouble("store", "It is away.", "Bring it back.")
    async with serving("127.0.0.1", 0, board, no_counts) as port:
        address = f"127.0.0.1:{port}"
        config = load_config(None, {}, {"state_dir": str(tmp_path), "http": address})
        site = Site(config=config, file=None, service=1)
        found = {each.check: each for each in await asyncio.to_thread(lambda: list(service(site)))}
    assert (found["service: store"].message, found["service: store"].remedy) == ("It is away.", "Bring it back.")
    (_, silent) = await asyncio.to_thread(lambda: list(service(site)))
    assert silent.message == f"pid 1 does not answer at http://{address}/healthz."


async def no_counts() -> dict[str, object]:
    return {}


async def test_the_command_says_it_in_lines_or_as_json(tmp_path: Path) -> None:
    """Exit code 1 when something is bad; every line that is not ok has its remedy below."""
    config = tmp_path / "comfygen.yaml"
    config.write_text("state_dir: ./state\ncomfyui:\n  - url: http://127.0.0.1:9\n", encoding="utf-8")
    lines, told = [await doctor(config, *words) for words in ([], ["--json"])]
    assert (lines[0], told[0]) == (1, 1)
    bad = [each for each in json.loads(told[1]) if each["state"] == "BAD"]
    assert [each["check"] for each in bad] == ["ComfyUI http://127.0.0.1:9"]
    assert f"-> {bad[0]['remedy']}" in lines[1]
    assert [path.name for path in tmp_path.iterdir()] == ["comfygen.yaml"]


async def test_a_configuration_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    """Its mistakes, and nothing else."""
    (tmp_path / "c.yaml").write_text("state_dri: ./state\n", encoding="utf-8")
    (finding,) = await examine(tmp_path / "c.yaml")
    assert (finding.check, finding.state) == ("configuration", State.BAD)
    assert "Did you mean 'state_dir'?" in finding.message


async def doctor(config: Path, *words: str) -> tuple[int | None, str]:
    """Exit code and output of the command."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("comfygen"), "doctor", "--config", config, *words, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(GUARD):
        output, _ = await process.communicate()
    return process.returncode, output.decode()
