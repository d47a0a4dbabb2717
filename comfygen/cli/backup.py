"""`comfygen backup`: a checked copy of queue.db, also while the service runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from comfygen.backup import back_up
from comfygen.config import environment, load_config


@click.command(name="backup")
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration of the service.")
@click.option("--to", "target", type=click.Path(path_type=Path, dir_okay=False), help="Where the copy goes.")
def command(path: Path | None, target: Path | None) -> None:
    """Copy queue.db, the one precious file of the service, to a file that can be put in its place.

    The service may run meanwhile: it is only read. Without --to, the copy goes to backups/ in state_dir. index.db
    needs no backup: it is made from the store (`comfygen reindex`).
    """
    config = load_config(path, environment())
    stamp = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    goal = target or config.state_dir / "backups" / f"queue-manual-{stamp}.db"
    size = back_up(config.queue_db, goal)
    click.echo(f"{goal}: {size:,} bytes, checked")
