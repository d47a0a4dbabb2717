"""`comfygen resume`: end pause and drain."""

from __future__ import annotations

from pathlib import Path

import click

from comfygen.cli.service import Service, options, tell


@click.command(name="resume")
@options
def command(path: Path | None, url: str | None, as_json: bool) -> None:
    """End pause and drain: prompts are started again, and requests taken."""
    tell(Service.of(path, url).post("resume"), as_json)
