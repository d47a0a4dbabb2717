"""`comfygen history`: serve every generation ever made through Datasette."""

from __future__ import annotations

import os
from pathlib import Path

import click

from comfygen.config import environment, load_config


@click.command(name="history")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="the configuration file")
@click.option("--host", help="listen on this address instead of the configured one")
@click.option("--port", type=click.IntRange(0, 65535), help="listen on this port; 0 takes any that is free")
@click.option("--open", "open_browser", is_flag=True, help="open it in a browser")
def command(config_file: Path | None, host: str | None, port: int | None, open_browser: bool) -> None:
    """Serve every generation ever made, with pictures, search and SQL, until Ctrl-C.

    Reads index.db and queue.db and never writes them; the service may run beside it.
    """
    from comfygen.datasette.serving import history_command

    config = load_config(config_file, environment())
    if not config.index_db.exists():
        click.echo(f"{config.index_db} does not exist yet: history is empty until the service has run.", err=True)
    if not config.queue_db.exists():
        click.echo(f"{config.queue_db} does not exist yet: only generations are shown.", err=True)
    argv = history_command(config, host=host, port=port, open_browser=open_browser)
    os.execv(argv[0], argv)
