"""`comfygen retry`: run a failed or cancelled request again."""

from __future__ import annotations

from pathlib import Path

import click

from comfygen.cli.service import Service, options, tell


@click.command(name="retry")
@click.argument("subjects", metavar="ID...", nargs=-1, required=True)
@options
def command(subjects: tuple[str, ...], path: Path | None, url: str | None, as_json: bool) -> None:
    """Run failed or cancelled requests again: each ID is that of a request or one of its jobs, or its `id:`.

    The request is prepared anew from the file as it was dropped, with presets and workflows as they are now. What is
    published of it is kept, and not generated again.
    """
    service = Service.of(path, url)
    for subject in subjects:
        tell(service.post("requests", subject, "retry"), as_json)
