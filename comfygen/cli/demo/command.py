"""The demo itself: start everything, drop three requests, tell what came of them."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from comfygen.cli.demo.stage import REQUESTS, Stage
from comfygen.cli.folders import Report
from comfygen.cli.processes import Processes
from comfygen.config import environment, load_config
from comfygen.datasette import history_command
from comfygen.errors import ComfyGenError

COMFYUI = "COMFYGEN_COMFYUI__0__URL"
OWN = ("COMFYGEN_CONFIG", "COMFYGEN_STATE_DIR", "COMFYGEN_INBOX", "COMFYGEN_STORE", "COMFYGEN_HTTP", "COMFYGEN_HISTORY")
SIMULATOR, HTTP, HISTORY = 8188, 8189, 8001
WORD = "landscape"
SQL = f"select key, seed, steps, cfg from generations where prompt like '%{WORD}%' order by timestamp desc"
JOB_SECONDS = 1800.0


class DemoFailed(ComfyGenError):
    """A request of the demo failed."""

    code = "demo_failed"


@click.command(name="demo")
@click.option("--once", is_flag=True, help="End when the three requests have ended.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else to stdout.")
@click.option("--dir", "folder", default="demo", show_default=True, type=click.Path(path_type=Path, file_okay=False))
def command(once: bool, as_json: bool, folder: Path) -> None:
    """Start a simulated ComfyUI, the service and Datasette; drop three requests; show what was made.

    Everything lies in one folder. With COMFYGEN_COMFYUI__0__URL set, that ComfyUI is used instead of the simulator.
    Without --once it goes on until Ctrl-C, and takes every request that you drop into its folder.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # a shell's background jobs ignore SIGINT otherwise
    stage = Stage(folder=folder.resolve())
    environ = {name: text for name, text in environment().items() if not name.startswith(OWN)}
    with Processes(folder=_logs(stage)) as processes:
        history = _start(stage, processes, environ)
        reports = _work(stage, processes)
        if failed := [report for report in reports if not report.ok]:
            raise DemoFailed("\n".join(_reason(report) for report in failed))
        told = _told(stage, reports, history)
        click.echo(json.dumps(told, ensure_ascii=False) if as_json else _shown(stage, told, history))
        if not once:
            _serve(stage, processes)


def _logs(stage: Stage) -> Path:
    logs = stage.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return logs


def _say(text: str) -> None:
    click.echo(text, err=True)


def _start(stage: Stage, processes: Processes, environ: Mapping[str, str]) -> str:
    """Start the processes; gives the address of the history."""
    simulator, http, history = (processes.port(port) for port in (SIMULATOR, HTTP, HISTORY))
    comfyui = environ.get(COMFYUI) or f"http://127.0.0.1:{simulator}"
    stage.set(comfyui=comfyui, http=http, history=history)
    if COMFYUI not in environ:
        processes.start("simulator", ["comfygen", "simulator", "--port", str(simulator)], environ)
        processes.wait_for("the simulator", lambda: _answers(f"{comfyui}/system_stats"))
    _say(f"ComfyUI    {comfyui}" + ("" if COMFYUI in environ else "  (simulated: no GPU is used)"))
    processes.start("comfygend", ["comfygend", "--config", str(stage.config)], environ)
    processes.wait_for("the service", lambda: _answers(f"http://127.0.0.1:{http}/status"))
    _say(f"service    http://127.0.0.1:{http}/status")
    processes.start("history", history_command(load_config(stage.config, {})), environ)
    processes.wait_for("the history", lambda: _answers(f"http://127.0.0.1:{history}/-/versions.json"))
    _say(f"history    http://127.0.0.1:{history}/")
    return f"http://127.0.0.1:{history}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _work(stage: Stage, processes: Processes) -> list[Report]:
    """Drop the requests and wait for each to end."""
    waiting = [stage.drop(name) for name in REQUESTS]
    _say(f"dropped    {', '.join(waiting)}  into {stage.inbox}")
    reports: list[Report] = []
    started = time.monotonic()

    def ended() -> bool:
        for name in list(waiting):
            if (report := stage.report(name)) is not None:
                waiting.remove(name)
                reports.append(report)
                mark = "done   " if report.ok else "failed "
                _say(f"{mark}    {name}  after {time.monotonic() - started:.1f} s")
        return not waiting

    processes.wait_for("a request", ended, seconds=JOB_SECONDS)
    keys = {output["key"] for report in reports for output in report.told["outputs"]}
    processes.wait_for("the index", lambda: keys <= set(stage.indexed()))
    return reports


def _ask(history: str, sql: str) -> list[dict[str, Any]]:
    """One SQL query, answered by Datasette."""
    with urllib.request.urlopen(f"{history}/index.json?sql={quote(sql)}&_shape=array", timeout=30) as answer:
        rows: list[dict[str, Any]] = json.loads(answer.read())
    return rows


def _told(stage: Stage, reports: list[Report], history: str) -> dict[str, Any]:
    outputs = [output for report in reports for output in report.told["outputs"]]
    return {
        "requests": len(reports),
        "outputs": [{name: output[name] for name in ("key", "url", "sha256")} for output in outputs],
        "index_rows": _ask(history, "select count(*) as n from generations")[0]["n"],
        "query_rows": len(_ask(history, SQL)),
    }


def _shown(stage: Stage, told: Mapping[str, Any], history: str) -> str:
    rows = [" | ".join(str(value) for value in row.values()) for row in _ask(history, SQL)]
    made = [f"  {stage.outputs / output['key']}" for output in told["outputs"]]
    look = [
        f"  {history}/-/gallery",
        f"  {history}/index/generations",
        f"  {history}/index/prompt_contains?text={WORD}",
    ]
    parts = ["", "Made:", *made, "", f"sqlite> {SQL}", *(f"  {row}" for row in rows), "", "Look at:", *look]
    return "\n".join(parts)


def _reason(report: Report) -> str:
    error = report.told.get("error", {})
    problems = [problem["message"] for problem in error.get("problems", ())]
    return "; ".join([f"{report.name}: {error.get('message')}", *problems])


def _serve(stage: Stage, processes: Processes) -> None:
    _say(f"\nDrop your own requests into {stage.inbox} (its done/ and failed/ say what came of them). Ctrl-C ends.")
    try:
        while True:
            processes.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        _say("stopping")
