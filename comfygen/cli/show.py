"""`comfygen show`: all that happened to a request or a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from comfygen.cli.service import Service, Told, options, readable, tell

FACTS = (
    "name",
    "received_at",
    "ended_at",
    "workflow",
    "prompt",
    "seed",
    "priority",
    "not_before",
    "backend",
    "progress",
)


@click.command(name="show")
@click.argument("subject", metavar="ID")
@options
def command(subject: str, path: Path | None, url: str | None, as_json: bool) -> None:
    """Show a request or a job: ID is its id, or the `id:` of a request.

    Its transitions with their times and reasons, its attempts, its error with a hint, its outputs, its timings.
    """
    told = Service.of(path, url).get_either(subject)
    if as_json:
        tell(told, as_json)
    else:
        click.echo("\n".join(_lines(told)))


def _lines(told: Told) -> Iterator[str]:
    kind = "job" if "job" in told else "request"
    yield f"{kind} {told[kind]}: {told['state']}" + (f" (of request {told['request']})" if kind == "job" else "")
    yield from (f"  {name}: {readable(told[name])}" for name in FACTS if told.get(name) not in (None, ""))
    yield from _error(told.get("error"))
    yield from (f"  note: {readable(note)}" for note in told.get("notes") or ())
    for step in told["transitions"]:
        reason = f"  {readable(step['reason'])}" if step["reason"] else ""
        yield f"  {step['at']}  {step['before'] or ''} -> {step['after']}{reason}"
    for attempt in told.get("attempts_made") or ():
        why = f": {readable(attempt['error'])}" if attempt["error"] else ""
        yield f"  attempt {attempt['attempt']} at {attempt['backend']} as {attempt['prompt_id']}{why}"
    yield from (f"  output {output['key']}  {output['url'] or 'in the spool'}" for output in told.get("outputs") or ())
    timings = told.get("timings") or {}
    yield from (f"  {name}: {readable(value)}" for name, value in timings.items())
    for job in told.get("jobs") or ():
        error = job.get("error") or {}
        why = f": {error.get('code')}: {readable(error.get('message'))}" if error else ""
        yield f"  job {job['job']}: {job['state']}{why}"
        if error.get("hint"):
            yield f"    hint: {readable(error['hint'])}"


def _error(error: Told | None) -> Iterator[str]:
    if error:
        yield f"  error: {error.get('code')}: {readable(error.get('message'))}"
        yield from (f"    {readable(problem.get('message'))}" for problem in error.get("problems") or ())
        if error.get("hint"):
            yield f"  hint: {readable(error['hint'])}"
        yield from (f"    {readable(line)}" for entry in error.get("traceback") or () for line in entry.splitlines())
