"""`comfygen cancel`: take a request or a job back."""

from __future__ import annotations

from pathlib import Path

import click

from comfygen.cli.service import Service, options, tell


@click.command(name="cancel")
@click.argument("subjects", metavar="ID...", nargs=-1, required=True)
@options
def command(subjects: tuple[str, ...], path: Path | None, url: str | None, as_json: bool) -> None:
    """Take back requests or jobs: each ID is that of a request or a job, or the `id:` of a request.

    What waits is cancelled at once, what runs on ComfyUI is stopped there, what has run is not published. Prompts of
    others are never touched. What is published already stays; that alone is an error.
    """
    service = Service.of(path, url)
    for subject in subjects:
        tell(service.cancel_either(subject), as_json)
