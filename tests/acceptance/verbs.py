"""Running `comfygen …` as a process, as a person does in a shell."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import dataclass
from typing import Any

from tests.acceptance.harness import COMFYGEND, GUARD, House, until


@dataclass(frozen=True)
class Said:
    """What a command has answered."""

    code: int | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def comfygen(*words: object) -> tuple[int | None, str, str]:
    """Run it to its end; its exit code, its output and its errors."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("COMFYGEN_")}
    process = await asyncio.create_subprocess_exec(
        COMFYGEND.with_name("comfygen"),
        *map(str, words),
        env=clean,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(GUARD):
        output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def serve(home: House) -> None:
    """Start the service, and wait until it answers."""
    starts = home.log.count("serving http") if (home.folder / "log").exists() else 0
    await home.start()
    await until(lambda: home.log.count("serving http") > starts, "the start")


async def ask(home: House, *words: str) -> Said:
    """A verb, for the service that was started last."""
    url = re.findall(r"serving (http://[^/\s]+)/status", home.log)[-1]
    return Said(*await comfygen(*words, "--url", url))


async def tell(home: House, *words: str) -> Any:
    """The same with --json, where nothing but success is expected."""
    said = await ask(home, *words, "--json")
    assert (said.code, said.err) == (0, "")
    return said.json


def job_rows(home: House) -> dict[str, tuple[str, str]]:
    """Id and state of the only job of each file, by its name."""
    rows = home.rows("SELECT r.name, j.id, j.state FROM jobs j JOIN requests r ON r.id = j.request_id", "queue.db")
    return {name: (job, state) for name, job, state in rows}


async def reached(home: House, name: str, state: str) -> str:
    """The id of the job of a file, once it is in a state."""
    await until(lambda: job_rows(home).get(name, ("", ""))[1] == state, f"{name} {state}")
    return job_rows(home)[name][0]
