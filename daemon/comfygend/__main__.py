"""`comfygend [--config FILE] [--check] [--once] [--only ROLE]`: the service's command line."""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import partial
from pathlib import Path

import click

from comfygen import __version__
from comfygen.config import Config, environment, load_config
from comfygen.errors import ComfyGenError, ConfigInvalid
from comfygend import failpoints, logs
from comfygend.check import check
from comfygend.service import ROLES, reindex, serve

log = logging.getLogger("comfygend")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="comfygend")
@click.option(
    "--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration (COMFYGEN_CONFIG)."
)
@click.option("--check", "only_check", is_flag=True, help="Look at everything a start needs, and exit.")
@click.option("--once", is_flag=True, help="Work until the inbox is empty and all is published and indexed, and exit.")
@click.option("--reindex", "only_reindex", is_flag=True, help="Make the index anew from the store, and exit.")
@click.option("--only", multiple=True, type=click.Choice(ROLES), help="Run only these roles (repeatable).")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
def command(
    path: Path | None, only_check: bool, once: bool, only_reindex: bool, only: tuple[str, ...], log_level: str
) -> None:
    """Turn request files into stored, indexed, searchable generations.

    Exit codes: 0 ok, 1 a request or a part of the service failed, 2 usage, 3 cannot start, 78 configuration.
    """
    logs.configure(environment(), level=log_level)
    failpoints.arm(environment().get("COMFYGEN_FAILPOINT"))
    config = load_config(path, environment())
    if only_reindex:
        tally = asyncio.run(reindex(config))
        click.echo(f"{tally.sidecars} sidecars in {tally.objects} objects: {tally.read} rows and problems written")
        return
    if only_check:
        sys.exit(asyncio.run(_check(config)))
    sys.exit(asyncio.run(serve(config, once=once, roles=only or ROLES, read=partial(load_config, path, environment()))))


async def _check(config: Config) -> int:
    code = 0
    async for finding in check(config):
        mark = "ok  " if finding.wrong is None else "BAD " if finding.fatal else "warn"
        click.echo(f"{mark}  {finding.what}" + (f": {finding.wrong}" if finding.wrong else ""))
        code = max(code, int(finding.wrong is not None and finding.fatal))
    return code


def main() -> None:
    """The entry point: the one place where errors become messages and exit codes."""
    try:
        command.main(prog_name="comfygend")
    except ComfyGenError as error:
        click.echo(f"comfygend: {error}", err=True)
        sys.exit(78 if isinstance(error, ConfigInvalid) else 3)
    except BaseExceptionGroup as group:
        for leaf in _leaves(group):
            log.error("a part of the service failed: %s", leaf, exc_info=leaf)
        sys.exit(1)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


if __name__ == "__main__":
    main()
