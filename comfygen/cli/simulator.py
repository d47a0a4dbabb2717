"""`comfygen simulator`: a ComfyUI stand-in on a port, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import click

from comfygen.documents import one_document
from comfygen.errors import ComfyGenError, ConfigInvalid, Problem


@click.command(name="simulator")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8188, show_default=True, help="The port to listen on; 0 takes a free one.")
@click.option("--step-seconds", default=0.0, show_default=True, help="How long one sampler step takes.")
@click.option(
    "--models", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML or JSON: folder -> file names."
)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Append a JSON line per prompt and run.")
def command(host: str, port: int, step_seconds: float, models: Path | None, log: Path | None) -> None:
    """A ComfyUI stand-in that speaks the real protocol and paints landscapes.

    Everything a workflow can ask for is checked as ComfyUI checks it, so a graph that runs here is accepted there.
    Faults for trying out what happens when things break: POST /simulator/faults.
    """
    lists = _model_lists(models) if models else None
    asyncio.run(_serve({"host": host, "port": port, "step_seconds": step_seconds, "models": lists, "log": log}))


def _model_lists(file: Path) -> dict[str, list[str]]:
    value = one_document(file.read_bytes(), file=str(file)).value
    if isinstance(value, dict) and all(_is_list_of_names(names) for names in value.values()):
        return value
    problem = Problem(
        message="this is no list of models", file=str(file), allowed="a mapping of folders to lists of file names"
    )
    raise ConfigInvalid(problems=[problem])


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


async def _serve(settings: dict[str, Any]) -> None:
    from comfygen.simulator import Simulator

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with Simulator(**settings) as simulator:
            click.echo(f"ComfyUI simulator listening on {simulator.url}")
            await stop.wait()
    except OSError as exc:
        place = f"{settings['host']}:{settings['port']}"
        raise ComfyGenError(f"The simulator cannot start on {place}: {exc.strerror or exc}.") from exc
