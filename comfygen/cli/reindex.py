"""`comfygen reindex`: make index.db anew from what the store holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click


@click.command(name="reindex")
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration of the service.")
def command(path: Path | None) -> None:
    """Empty the index and fill it from the sidecars in the store.

    The file stays the same one, so that a Datasette that has it open sees the new rows. The service must not run
    meanwhile: it keeps the index equal to the store by itself.
    """
    words = [sys.executable, "-m", "comfygend", "--reindex", *(["--config", str(path)] if path else [])]
    sys.exit(subprocess.run(words, check=False).returncode)
