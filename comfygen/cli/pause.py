"""`comfygen pause`: start no new prompts."""

from __future__ import annotations

from pathlib import Path

import click

from comfygen.cli.service import Service, options, tell


@click.command(name="pause")
@options
def command(path: Path | None, url: str | None, as_json: bool) -> None:
    """Start no new prompts; what runs on ComfyUI goes on, and is published.

    New requests are still taken. It lasts, also over a restart, until `comfygen resume`.
    """
    tell(Service.of(path, url).post("pause"), as_json)
