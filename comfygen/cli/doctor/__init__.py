"""`comfygen doctor`: look at everything, and say what to do about what is wrong. Nothing running is disturbed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import click

from comfygen.cli.doctor import databases, disks, inboxes, recipes, service, stores
from comfygen.cli.doctor.finding import Finding, State, bad
from comfygen.cli.doctor.site import Site
from comfygen.config import environment, load_config
from comfygen.errors import ComfyGenError, ConfigInvalid

Local: TypeAlias = Callable[[Site], Iterable[Finding]]
Remote: TypeAlias = Callable[[Site], Awaitable[list[Finding]]]
LOCAL: dict[str, Local] = {
    "sqlite": databases.sqlite,
    "service": service.service,
    "state_dir": disks.state_dir,
    "secrets": disks.secrets,
    "ledger": databases.ledger,
    "index": databases.index,
    "inboxes": inboxes.inboxes,
}
REMOTE: dict[str, Remote] = {"workflows and ComfyUI": recipes.comfyui, "store": stores.store}


@click.command(name="doctor")
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration of the service.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of findings instead of lines.")
def command(path: Path | None, as_json: bool) -> None:
    """Look at everything that ComfyGen needs, and name each problem with a remedy.

    The service may run meanwhile: only a hidden file in each inbox and one object below .comfygen/ are written, and
    removed again. Exit codes: 0 if nothing is BAD, 1 otherwise.
    """
    findings = asyncio.run(examine(path))
    if as_json:
        click.echo(json.dumps([finding.to_json() for finding in findings], ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(line for finding in findings for line in finding.lines()))
        click.echo(_summary(findings))
    sys.exit(any(finding.state is State.BAD for finding in findings))


async def examine(path: Path | None) -> list[Finding]:
    """Everything that was found, in the order of the tables."""
    try:
        config = load_config(path, environment())
    except ConfigInvalid as exc:
        return [bad("configuration", exc.message, exc.hint or "Mend these, then run the doctor again.")]
    named = path or environment().get("COMFYGEN_CONFIG")
    site = Site.of(config, Path(named) if named else None)
    local = [await asyncio.to_thread(_looked, name, look, site) for name, look in LOCAL.items()]
    remote = await asyncio.gather(*(_asked(name, ask, site) for name, ask in REMOTE.items()))
    return [finding for findings in (*local, *remote) for finding in findings]


def _looked(name: str, look: Local, site: Site) -> list[Finding]:
    """One check must not keep the others from being made."""
    found: list[Finding] = []
    try:
        found.extend(look(site))
    except (ComfyGenError, OSError, sqlite3.Error) as exc:
        found.append(_unseen(name, exc))
    return found


async def _asked(name: str, ask: Remote, site: Site) -> list[Finding]:
    try:
        return await ask(site)
    except (ComfyGenError, OSError) as exc:
        return [_unseen(name, exc)]


def _unseen(name: str, exc: Exception) -> Finding:
    hint = exc.hint if isinstance(exc, ComfyGenError) else None
    return bad(name, f"It cannot be looked at: {exc}", hint or "Run the doctor as the service's user.")


def _summary(findings: list[Finding]) -> str:
    number = {state: sum(finding.state is state for finding in findings) for state in State}
    return f"{len(findings)} checks: {number[State.BAD]} bad, {number[State.WARN]} to look at"
