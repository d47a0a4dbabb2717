"""Serving: the command that shows the history of a configuration, ready to be run."""

from __future__ import annotations

import sys

from comfygen.config import Config, split_address
from comfygen.datasette.configuration import SETTINGS, tables_of, write_metadata
from comfygen.datasette.settings import Settings
from comfygen.index import Index


def history_command(
    config: Config, *, host: str | None = None, port: int | None = None, open_browser: bool = False
) -> list[str]:
    """The command line of Datasette for this configuration. Writes its configuration into `state_dir/history/`, and
    an empty index.db if there is none yet, so that history can be looked at before the first generation.

    queue.db is served as soon as there is one: start again after the first run of the service to see it.
    """
    folder = config.state_dir / "history"
    folder.mkdir(parents=True, exist_ok=True)
    settings, metadata = folder / "settings.json", folder / "metadata.json"
    if not config.index_db.exists():
        Index.open(config.index_db).close()
    queue = tables_of(config.queue_db)
    Settings.of(config).write(settings)
    write_metadata(metadata, settings=settings, queue_tables=queue)
    default_host, default_port = split_address(config.history)
    chosen = [option for name, value in SETTINGS.items() for option in ("--setting", name, value)]
    return [
        *(sys.executable, "-P", "-m", "datasette", "serve", str(config.index_db)),
        *([str(config.queue_db)] if queue else []),
        *("--metadata", str(metadata), *chosen),
        *("--host", host or default_host, "--port", str(default_port if port is None else port)),
        *(["--open"] if open_browser else []),
    ]
