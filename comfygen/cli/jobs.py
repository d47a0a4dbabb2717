"""`comfygen jobs`: list the jobs of the running service."""

from __future__ import annotations

from pathlib import Path

import click

from comfygen.cli.service import Service, Told, options, print_table, tell

COLUMNS = ("job", "request", "state", "attempts", "priority", "file", "prompt")
PROMPT_LENGTH = 60


@click.command(name="jobs")
@click.option("--state", "states", multiple=True, help="Only jobs in this state (repeatable): queued, failed, ...")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@options
def command(states: tuple[str, ...], limit: int, path: Path | None, url: str | None, as_json: bool) -> None:
    """List jobs, the newest first: id, request, state (with progress), attempts, priority, file, prompt.

    A table on a terminal; lines with tabs between the columns otherwise.
    """
    told = Service.of(path, url).get("jobs", state=",".join(states), limit=str(limit))
    if as_json:
        tell(told, as_json)
        return
    print_table(COLUMNS, [_row(job) for job in told["jobs"]])
    for switch, since in told["switches"].items():
        if since:
            click.echo(f"{switch} since {since}; `comfygen resume` ends it", err=True)


def _row(job: Told) -> tuple[object, ...]:
    state = f"{job['state']} ({job['progress']})" if job.get("progress") else job["state"]
    prompt = str(job["prompt"])
    cut = prompt if len(prompt) <= PROMPT_LENGTH else f"{prompt[:PROMPT_LENGTH]}…"
    return (job["job"], job["request"], state, job["attempts"], job["priority"], job["name"], cut)
