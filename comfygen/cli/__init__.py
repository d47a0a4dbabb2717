"""`comfygen …`: one file per verb, imported only when its verb is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from comfygen import __version__
from comfygen.errors import ComfyGenError, ComfyUIUnavailable, ConfigInvalid, InvalidInput, NotFound, StoreUnavailable

VERBS = {
    "backup": "copy queue.db, also while the service runs",
    "bucket": "make the bucket and its policy, or check them",
    "cancel": "take a request or a job back",
    "demo": "the main job on embedded defaults: simulator, service, store, history",
    "doctor": "look at everything, and say what to do about what is wrong",
    "drain": "take nothing new, and finish what is accepted",
    "history": "serve every generation ever made through Datasette",
    "jobs": "list the jobs of the running service",
    "pause": "start no new prompts",
    "reindex": "make index.db anew from what the store holds",
    "resume": "end pause and drain",
    "retry": "run a failed or cancelled request again",
    "schema": "print the JSON schema of a request file",
    "selftest": "whether this installation keeps its promises when things break",
    "show": "all that happened to a request or a job",
    "simulator": "a ComfyUI stand-in that speaks the real protocol",
    "submit": "drop request files into the inbox, and follow them",
}


class ServiceUnavailable(ComfyGenError):
    """The running service cannot be reached."""

    code = "service_unavailable"
    retryable = True


EXIT_CODES: dict[type[ComfyGenError], int] = {
    ConfigInvalid: 78,
    InvalidInput: 4,
    NotFound: 3,
    ComfyUIUnavailable: 69,
    StoreUnavailable: 69,
    ServiceUnavailable: 69,
}


class Verbs(click.Group):
    """A group whose commands live in `comfygen.cli.<verb>` as `command`; help needs none of them imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: Any = importlib.import_module(f"comfygen.cli.{cmd_name.replace('-', '_')}").command
        return command  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="comfygen")
def cli() -> None:
    """Drop a request file, get a stored, indexed, searchable generation."""


def exit_code(error: ComfyGenError) -> int:
    """0 ok, 1 failed, 2 usage, 3 not found, 4 invalid request, 69 a server cannot be reached, 78 configuration."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point: the one place where a ComfyGenError becomes a message and an exit code."""
    try:
        cli.main(args=list(argv) if argv is not None else None, prog_name="comfygen")
    except ComfyGenError as error:
        click.echo(f"comfygen: {error}", err=True)
        sys.exit(exit_code(error))
