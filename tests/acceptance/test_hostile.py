"""Hundreds of hostile files: no crash, no escape, no bloat; every one is answered in words that people understand."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from comfygen.simulator import Simulator
from comfygend.inbox.names import printable
from tests.acceptance.harness import COMFYGEND, Folders, House
from tests.hostile import PICTURES, corpus
from tests.hostile.corpus import SPARSE_BYTES, odd_things, picture_requests

MORE_MEMORY = 48 * 1024  # kB than for one plain request: a bomb that goes off takes far more
LEAST_FILES = 300
PYTHON_WORDS = re.compile(r"\b[A-Z]\w*(Error|Exception)\b|Traceback|<class|object at 0x|NoneType|\bErrno\b|pydantic")
CALLS = (
    "open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,"
    "truncate,chmod,fchmodat,mknod,mknodat,connect"
)
CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += \d")
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
HARMLESS = ("/dev/null", "/dev/tty", "/proc/self/")


def fill(inbox: Path, decoy: Path) -> list[str]:
    """Drop the corpus; the names of everything that has to be answered."""
    for folder in (inbox, decoy):
        folder.mkdir()
    (decoy / "secret.yaml").write_text("prompt: the secret of the decoy\n", encoding="utf-8")
    for name, body in corpus().items():
        Path(os.fsdecode(os.fsencode(inbox) + b"/" + name)).write_bytes(body)
    for request, body in picture_requests():
        (inbox / request).write_bytes(body)
    odd_things(inbox, decoy)
    dropped = [path.name for path in inbox.iterdir()]
    for picture, content in PICTURES.items():
        (inbox / picture).write_bytes(content)
    (inbox / "link.png").symlink_to("/etc/passwd")
    os.mkfifo(inbox / "pipe.png")
    return dropped


def can_trace() -> bool:
    """Whether strace is here, and is allowed to work."""
    words = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "true"]
    return shutil.which("strace") is not None and subprocess.run(words, capture_output=True).returncode == 0


def run(home: House, trace: Path | None) -> tuple[int, int]:
    """`comfygend --once`, followed by strace if there is one: its exit code, and the most memory it had, in kB."""
    words = [] if trace is None else ["strace", "-f", "-qq", "--seccomp-bpf", "-s", "4096", "-o", str(trace)]
    words += [] if trace is None else ["-e", f"trace={CALLS}"]
    with (home.folder / "log").open("ab") as log:
        process = subprocess.Popen([*words, COMFYGEND, "--config", home.config, "--once"], stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss


def escapes(trace: Path, home: Path, comfyui: int) -> Iterator[str]:
    """Every call that wrote or changed something outside the house, or spoke to anybody but ComfyUI."""
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        if (call := CALL.match(line)) is None:
            continue
        name, arguments = call.groups()
        if name == "connect":
            if "AF_INET" in arguments and f"htons({comfyui})" not in arguments:
                yield line
        elif not name.startswith("open") or re.search("O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", arguments):
            paths = PATH.findall(arguments)
            if not all(path.startswith((*HARMLESS, f"{home}/")) or _is_below(path) for path in paths):
                yield line


def _is_below(path: str) -> bool:
    """Whether a path leads into a folder that the process has open, and not out of it again."""
    return not path.startswith("/") and ".." not in path.split("/")


def told(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of an error that speak to people."""
    yield from error.get("problems") or [error]


def faults(report: Mapping[str, Any], asked: str) -> Iterator[str]:
    """What a newcomer would not understand in the report of a failure. The words of the request are theirs."""
    error = report.get("error")
    if not error or not error.get("message"):
        yield "no message"
        return
    for part in told(error):
        more = str(part.get("message", "")).startswith("… and ")  # the last of very many
        if not part.get("message") or not (more or any(part.get(name) for name in ("line", "field", "hint"))):
            yield f"neither line nor field nor hint: {part}"
    for text in _texts(error):
        if (found := PYTHON_WORDS.search(text)) and found[0] not in asked:
            yield f"{found[0]!r} in {text!r}"
        if odd := [char for char in text if unicodedata.category(char) in {"Cc", "Cs"} and char not in "\n\t"]:
            yield f"{odd} in {text!r}"


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def reports(home: House) -> list[dict[str, Any]]:
    """All of them."""
    return [*home.reports("done").values(), *home.reports("failed").values()]


def scan(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file of a folder that is none of the service's business."""
    found = {path.name: (path.stat(), path.read_bytes()) for path in folder.iterdir()}
    return {name: (status.st_mtime_ns, status.st_size, body) for name, (status, body) in found.items()}


async def test_a_hostile_inbox_is_answered_file_by_file(tmp_path: Path) -> None:
    """Each file is put away with a report; nothing outside is written or spoken to; a secret beside it stays one."""
    decoy, trace = tmp_path / "decoy", tmp_path / "trace" if can_trace() else None
    async with Simulator() as simulator:
        calm = House(tmp_path / "calm", simulator.url, Folders(tmp_path / "calm"))
        calm.drop("lake.yaml")
        _, usual = await asyncio.to_thread(run, calm, None)
        home = House(tmp_path / "home", simulator.url, Folders(tmp_path / "home"))
        dropped = fill(home.folder / "requests", decoy)
        before = scan(decoy)
        code, memory = await asyncio.to_thread(run, home, trace)
    sparse = home.folder / "requests" / "failed" / "sparse.yaml"
    assert sparse.stat().st_size == SPARSE_BYTES
    sparse.unlink()  # nobody reads two gigabytes, and neither do we
    failed = home.reports("failed")
    assert code == 1, home.log[-3000:]
    assert sorted(report["name"] for report in reports(home)) == sorted(map(printable, dropped))
    assert len(dropped) >= LEAST_FILES
    files = home.places.requests()
    asked = {name: files.get(f"failed/{name}", b"").decode(errors="replace") for name in failed}
    assert {n: wrong for n, report in failed.items() if (wrong := list(faults(report, asked[n])))} == {}
    assert home.left() == sorted({*PICTURES, "link.png"})
    assert scan(decoy) == before
    assert "secret of the decoy" not in str(failed) + home.log
    assert "Traceback" not in home.log
    assert "\x1b" not in home.log
    assert memory < usual + MORE_MEMORY
    if trace is None:
        pytest.skip("all is well, but strace cannot be used here to see that nothing was written elsewhere")
    assert list(escapes(trace, home.folder, simulator.port)) == []
