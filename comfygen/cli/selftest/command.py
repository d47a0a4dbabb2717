"""The verb: run the cases in a folder of its own, and tell what came of them."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from comfygen import __version__
from comfygen.cli.folders import Folders
from comfygen.cli.processes import Processes
from comfygen.cli.selftest.bench import Bench, installed_service
from comfygen.cli.selftest.cases import CASES, Case
from comfygen.cli.selftest.runner import Runner, Verdict
from comfygen.config import environment


@click.command(name="selftest")
@click.option("--only", multiple=True, metavar="WORD", help="Only cases with this word in their name (repeatable).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else to stdout.")
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep everything in this folder: new, or empty."
)
def command(only: tuple[str, ...], as_json: bool, keep: Path | None) -> None:
    """See within about a minute whether this installation keeps its promises when things break.

    Starts a simulated ComfyUI and the installed service in a temporary folder, breaks one thing after the other, drops
    a small request each time, and looks at what comes of it: generated exactly once, or failed with the right error.
    No configuration, ComfyUI or store is needed or touched. Exit codes: 0 if every promise was kept, 1 otherwise.
    """
    cases = chosen(only)
    installed_service()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # leave by way of everything that has to be stopped
    begun, verdicts = time.monotonic(), []
    with _place(keep) as folder, Processes(folder=folder / "logs") as processes:
        bench = Bench(folders=Folders(folder=folder), processes=processes, environ=environment())
        for verdict in Runner(bench=bench).run(cases):
            verdicts.append(verdict)
            if not as_json:
                click.echo("\n".join(lines(verdict)))
    seconds = round(time.monotonic() - begun, 1)
    if as_json:
        click.echo(json.dumps(_told(cases, verdicts, seconds), ensure_ascii=False, indent=2))
    else:
        click.echo(_summary(cases, verdicts, seconds, keep))
    sys.exit(any(verdict.wrong for verdict in verdicts))


def chosen(only: Sequence[str]) -> list[Case]:
    """The cases with one of these words in their names, or all. Raises UsageError for a word that is in none."""
    for word in only:
        if not any(word in case.name for case in CASES):
            names = ", ".join(case.name for case in CASES)
            raise click.UsageError(f"No case has {word!r} in its name; there are: {names}.")
    return [case for case in CASES if not only or any(word in case.name for word in only)]


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    """The folder of this run, with a place for the logs."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="comfygen-selftest-") as folder:
            (Path(folder) / "logs").mkdir()
            yield Path(folder)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise click.UsageError(f"{keep} is not empty.")
        (keep / "logs").mkdir()
    except OSError as exc:
        raise click.UsageError(f"{keep} cannot be used: {exc.strerror}.") from exc
    yield keep.resolve()


def lines(verdict: Verdict) -> list[str]:
    """A case for people: what came of it, or all that was seen instead."""
    if not verdict.wrong:
        return [f"ok      {verdict.name}: {verdict.promise}"]
    wrong = [line for text in verdict.wrong for line in text.splitlines()]
    return [f"FAILED  {verdict.name}: promised: {verdict.promise}; seen:", *(f"        - {line}" for line in wrong)]


def _not_tried(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> list[str]:
    return [case.name for case in cases if case.name not in {verdict.name for verdict in verdicts}]


def _told(cases: Sequence[Case], verdicts: Sequence[Verdict], seconds: float) -> dict[str, object]:
    """The whole run for machines."""
    return {
        "ok": not any(verdict.wrong for verdict in verdicts),
        "version": __version__,
        "seconds": seconds,
        "cases": [verdict.to_json() for verdict in verdicts],
        "not_tried": _not_tried(cases, verdicts),
    }


def _summary(cases: Sequence[Case], verdicts: Sequence[Verdict], seconds: float, keep: Path | None) -> str:
    failed = sum(bool(verdict.wrong) for verdict in verdicts)
    skipped = len(_not_tried(cases, verdicts))
    lines = [f"{len(cases)} cases in {seconds:.0f} s: {failed} failed" + (f", {skipped} not tried" if skipped else "")]
    if keep:
        lines.append(f"Requests, outputs, databases and logs are in {keep}.")
    elif failed:
        lines.append("`comfygen selftest --keep FOLDER` keeps requests, outputs, databases and logs to look at.")
    return "\n".join(lines)
