"""The command: check the files, drop them, follow them."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from comfygen.cli.submit.names import SUFFIXES, tame
from comfygen.cli.submit.places import Place, open_place
from comfygen.config import Config, environment, load_config
from comfygen.errors import NotFound, Problem, RequestInvalid, StoreError
from comfygen.request import parse_requests

LOOK_SECONDS = 0.25


@click.command(name="submit")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration of the service.")
@click.option("--wait", is_flag=True, help="Wait until each request has ended; exit code 1 if one failed.")
@click.option("--timeout", type=float, default=None, help="With --wait: give up after so many seconds (exit code 75).")
@click.option("--json", "as_json", is_flag=True, help="With --wait: print each report as one line of JSON.")
def command(files: tuple[Path, ...], path: Path | None, wait: bool, timeout: float | None, as_json: bool) -> None:
    """Drop request FILES into the inbox of the configuration.

    Every file is checked first; if one of them has a mistake, none is dropped. A file keeps its name, unless that is
    taken, or one that an inbox leaves alone (hidden, `….example.yaml`).
    """
    contents = {file: _checked(file) for file in files}
    config = load_config(path, environment())
    try:
        sys.exit(asyncio.run(_submit(config, contents, wait, timeout, as_json)))
    except TimeoutError:
        click.echo(f"comfygen: not all requests have ended after {timeout:g} s; they go on.", err=True)
        sys.exit(75)


def _checked(file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise NotFound(f"{file} cannot be read: {exc.strerror}.") from exc
    if file.suffix.lower() not in SUFFIXES:
        problem = Problem(file=str(file), message="is no request by its name.", allowed=", ".join(SUFFIXES))
        raise RequestInvalid(f"{file} was not dropped:", problems=[problem])
    parse_requests(content, file=str(file))
    return content


async def _submit(config: Config, contents: dict[Path, bytes], wait: bool, timeout: float | None, as_json: bool) -> int:
    async with open_place(config) as place:
        dropped = [await _drop(place, tame(file.name), content) for file, content in contents.items()]
        for name in dropped:
            click.echo(f"dropped {name} into {place.name}", err=wait)
        if not wait:
            return 0
        async with asyncio.timeout(timeout):
            reports = await asyncio.gather(*(_follow(place, name, as_json) for name in dropped))
        return 0 if all(report.get("status") == "done" for report in reports) else 1


async def _drop(place: Place, name: str, content: bytes) -> str:
    """Drop a file under its own name, or with something behind it if that is taken."""
    stem, suffix = Path(name).stem, Path(name).suffix
    while not await place.drop(name, content):
        name = f"{stem}-{secrets.token_hex(3)}{suffix}"
    return name


async def _follow(place: Place, name: str, as_json: bool) -> dict[str, Any]:
    while (body := await _report(place, name)) is None:
        await asyncio.sleep(LOOK_SECONDS)
    report: dict[str, Any] = json.loads(body)
    click.echo(json.dumps(report, ensure_ascii=False) if as_json else _shown(name, report))
    return report


async def _report(place: Place, name: str) -> bytes | None:
    """The report if it is there; a store that is away just now will be there again."""
    try:
        return await place.report(name)
    except StoreError as exc:
        if not exc.retryable:
            raise
        return None


def _shown(name: str, report: dict[str, Any]) -> str:
    lines = [f"{name}: {report.get('status')}", *(f"  {output['url']}" for output in report.get("outputs", ()))]
    error = report.get("error") or {}
    if error:
        problems = [Problem(**problem) for problem in error.get("problems", ())]
        lines += [f"  {problem}" for problem in problems] or [f"  {error.get('message')} {error.get('hint') or ''}"]
    lines += [f"  note: {note}" for note in (*report.get("warnings", ()), *report.get("notes", ()))]
    return "\n".join(lines)
