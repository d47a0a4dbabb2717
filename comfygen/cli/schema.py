"""`comfygen schema request`: the JSON schema of a request file, for editors."""

from __future__ import annotations

import json

import click

from comfygen.request import request_schema


@click.command(name="schema")
@click.argument("what", type=click.Choice(["request"]))
def command(what: str) -> None:
    """Print the JSON schema of a request file.

    With `# yaml-language-server: $schema=request.schema.json` as its first line, a request file gets completion and
    checks in most editors.
    """
    click.echo(json.dumps({"request": request_schema}[what](), ensure_ascii=False, indent=2))
