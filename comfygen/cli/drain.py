"""`comfygen drain`: take nothing new, and finish what is accepted."""

from __future__ import annotations

from pathlib import Path

import click

from comfygen.cli.service import Service, options, tell


@click.command(name="drain")
@options
def command(path: Path | None, url: str | None, as_json: bool) -> None:
    """Take nothing new from the inboxes, and finish what is accepted.

    It lasts, also over a restart, until `comfygen resume`. Files that are dropped meanwhile wait where they are.
    """
    tell(Service.of(path, url).post("drain"), as_json)
