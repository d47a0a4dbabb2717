"""`comfygen selftest`, as somebody runs it after installing ComfyGen; and that it fails when something is broken."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from comfygen.cli.folders import Folders
from comfygen.cli.processes import Processes
from comfygen.cli.selftest.bench import Bench
from comfygen.cli.selftest.cases import CASES, Act, Case
from comfygen.cli.selftest.runner import AFTERWARDS, Runner, Verdict
from tests.acceptance.harness import GUARD, until
from tests.acceptance.test_demo import children, lives

COMFYGEN = Path(sys.executable).with_name("comfygen")
FORGETFUL = """\
from comfygend.worker import Worker

async def never(self, job):
    return False

Worker._is_known = never
"""


async def selftest(*words: str, **environ: str) -> asyncio.subprocess.Process:
    """The installed verb, with the environment of a test and more."""
    return await asyncio.create_subprocess_exec(
        COMFYGEN,
        "selftest",
        *words,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Exit code, and all that was said."""
    async with asyncio.timeout(3 * GUARD):
        said, errors = await process.communicate()
    return process.returncode, said.decode() + errors.decode()


def tried(folder: Path, *cases: Case, patience: float = GUARD) -> list[Verdict]:
    """Cases in a folder, in which there may be something already."""
    (folder / "logs").mkdir()
    with Processes(folder=folder / "logs") as processes:
        bench = Bench(folders=Folders(folder=folder), processes=processes, environ=os.environ)
        return list(Runner(bench=bench, patience=patience).run(cases))


async def test_a_good_installation_keeps_every_promise(tmp_path: Path) -> None:
    """Whatever its environment configures; and everything is kept to be looked at."""
    folder, own = tmp_path / "kept", {"COMFYGEN_FAILPOINT": "posted", "COMFYGEN_COMFYUI__0__URL": "http://127.0.0.1:9"}
    code, said = await ended(await selftest("--json", "--keep", str(folder), **own))
    told = json.loads(said)
    assert [case for case in told["cases"] if not case["ok"]] == []
    assert (code, told["ok"], told["not_tried"]) == (0, True, [])
    assert [case["case"] for case in told["cases"]] == [*(case.name for case in CASES), AFTERWARDS]
    done = [case for case in CASES if not case.code]
    assert len(list((folder / "outputs").glob("*.png"))) == len(done) == len(Folders(folder=folder).indexed())
    assert len(list((folder / "requests" / "failed").glob("*.error.json"))) == len(CASES) - len(done)
    assert (folder / "logs" / "comfygend.log").stat().st_size


async def test_a_service_that_posts_twice_is_found_out(tmp_path: Path) -> None:
    """An installation that does not look whether ComfyUI knows a prompt already: both cases that need it fail."""
    (tmp_path / "sitecustomize.py").write_text(FORGETFUL, encoding="utf-8")
    words = ("--only", "lost ack", "--only", "killed", "--only", "no fault")
    code, said = await ended(await selftest(*words, PYTHONPATH=str(tmp_path)))
    assert code == 1
    assert "ok      no fault: done, generated once" in said
    assert "FAILED  lost acknowledgement" in said
    assert "FAILED  service killed in mid job" in said
    assert said.count("- 2 prompts instead of 1") == 2
    assert "3 cases in" in said


def test_a_store_that_cannot_be_written_is_found_out(tmp_path: Path) -> None:
    """The first case says why, and the second one is not tried."""
    (tmp_path / "outputs").write_text("no folder", encoding="utf-8")
    (verdict,) = tried(tmp_path, CASES[0], CASES[1], patience=5)
    assert verdict.final
    assert "it has not ended" in verdict.wrong
    assert "outputs cannot be opened as a store" in verdict.wrong[0]


def test_a_case_that_does_not_end_is_the_last_one(tmp_path: Path) -> None:
    """What is left of it would spoil the others."""
    stuck = Case(name="nothing runs", faults=({"kind": "dead_worker"},))
    (verdict,) = tried(tmp_path, stuck, CASES[0], patience=1)
    assert verdict.final
    assert verdict.wrong[0].startswith("its end took longer than 1 s")
    assert {"it has not ended", "never generated instead of generated once"} <= set(verdict.wrong)
    assert any(line.startswith("left behind: ") for line in verdict.wrong)


def test_a_wrong_promise_is_found_out(tmp_path: Path) -> None:
    """What came instead is told, and the next case is tried."""
    wrong = Case(name="a node fails", faults=({"kind": "execution_error"},), prompts=2)
    idle = Case(name="a fault that cannot strike", faults=({"kind": "oom", "match": "nowhere"},))
    first, second, afterwards = tried(tmp_path, wrong, idle)
    assert "ended as execution_failed instead of done" in first.wrong
    assert "1 prompts instead of 2" in first.wrong
    assert second.wrong == ("the fault oom did not strike",)
    assert afterwards.wrong == ()


def test_a_kill_in_mid_job_is_one(tmp_path: Path) -> None:
    """Between the start of the run and its end; the service has started twice."""
    (killed,) = (case for case in CASES if case.act is Act.KILL)
    assert [verdict.wrong for verdict in tried(tmp_path, killed)] == [(), ()]
    assert (tmp_path / "logs" / "comfygend.log").read_text(encoding="utf-8").count("serving http://") == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_one_that_is_stopped_takes_its_processes_along(number: signal.Signals) -> None:
    """However it ends."""
    process = await selftest()
    await until(lambda: len(children(process.pid)) == 2, "the processes")
    started = children(process.pid)
    process.send_signal(number)
    code, said = await ended(process)
    assert code != 0
    assert "Traceback" not in said
    await until(lambda: not [pid for pid in started if lives(pid)], "their end")
