"""Bench: one folder with a simulated ComfyUI and a service, both processes, and what can be seen of them."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfygen.cli.folders import Folders, Report
from comfygen.cli.processes import Processes
from comfygen.cli.selftest.cases import ATTEMPTS, STALL_SECONDS
from comfygen.cli.selftest.judging import Seen
from comfygen.errors import ComfyGenError
from comfygen.images import check_image

OWN = "COMFYGEN_"
ANSWER_SECONDS = 10.0
CONFIG = f"""\
# Written by `comfygen selftest`.
state_dir: ./state
inbox:
  - folder: ./requests
store:
  folder: ./outputs
comfyui:
  - url: {{comfyui}}
http: 127.0.0.1:0
limits:
  attempts: {ATTEMPTS}
  stall_seconds: {STALL_SECONDS:g}
"""


class NotInstalled(ComfyGenError):
    """A program of ComfyGen is not where it belongs."""

    code = "not_installed"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that there is at a moment: the simulator's journal, the store, the index."""

    journal: tuple[Mapping[str, Any], ...]
    stored: frozenset[str]
    indexed: frozenset[str]

    def events(self, before: Snapshot, event: str) -> list[Mapping[str, Any]]:
        """What the simulator did since an earlier moment."""
        return [line for line in self.journal[len(before.journal) :] if line["event"] == event]


@dataclass(kw_only=True)
class Bench:
    """Starts the two processes, and looks at what they do."""

    folders: Folders
    processes: Processes
    environ: Mapping[str, str]
    comfyui: str = field(default="", init=False)

    @property
    def journal(self) -> Path:
        return self.processes.folder / "comfyui.jsonl"

    def start(self) -> None:
        """Start the simulator on a free port, and the service."""
        words = ("comfygen", "simulator", "--port", "0", "--log", str(self.journal))
        self.processes.start("simulator", words, self._clean())
        self.processes.wait_for("the simulator", lambda: self._listening() is not None)
        self.comfyui = self._listening() or ""
        self.folders.make(CONFIG.format(comfyui=self.comfyui))
        self.start_service()

    def start_service(self) -> None:
        """Start the installed service."""
        words = (str(installed_service()), "--config", str(self.folders.config))
        self.processes.start("comfygend", words, self._clean())

    def _clean(self) -> dict[str, str]:
        """The environment without any configuration of ComfyGen."""
        return {name: text for name, text in self.environ.items() if not name.startswith(OWN)}

    def _listening(self) -> str | None:
        found = re.search(r"listening on (http://\S+)\n", self.processes.log("simulator"))
        return found[1] if found else None

    # -- ComfyUI ------------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the simulator, by no proxy."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.comfyui}{path}", data=data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=ANSWER_SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    def faults(self) -> list[str]:
        """The kinds of faults that are set and have not struck often enough."""
        return [fault["kind"] for fault in self.ask("GET", "/simulator/faults")["faults"]]

    def queue(self) -> list[str]:
        """The prompts that run or wait."""
        told = self.ask("GET", "/queue")
        return [item[1] for item in (*told["queue_running"], *told["queue_pending"])]

    # -- the service --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What there is now; a line of the journal that is just being written is left out."""
        text = self.journal.read_text(encoding="utf-8") if self.journal.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()
        place = self.folders.outputs
        keys = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
        return Snapshot(
            journal=tuple(json.loads(line) for line in lines),
            stored=frozenset(key for key in keys if not key.startswith(".")),
            indexed=frozenset(self.folders.indexed()),
        )

    def is_quiet(self, name: str) -> bool:
        """Whether a request has ended, its outputs are in the index, and nothing is on its way."""
        report = self.folders.report(name)
        if report is None or any(self.left()):
            return False
        return {output["key"] for output in report.told["outputs"]} <= set(self.folders.indexed())

    def seen(self, name: str, before: Snapshot, after: Snapshot) -> Seen:
        """What has come of a request between two moments."""
        reports = self.reports(name)
        ended = after.events(before, "ended")
        return Seen(
            endings=tuple("done" if report.ok else report.told["error"]["code"] for report in reports),
            outputs=tuple(output["key"] for report in reports for output in report.told["outputs"]),
            stored=tuple(sorted(after.stored - before.stored)),
            indexed=tuple(sorted(after.indexed - before.indexed)),
            unsound=tuple(wrong for report in reports for wrong in self.unsound(report)),
            prompts=len(after.events(before, "accepted")),
            sampled=sum(line["sampler_runs"] for line in ended),
            left=tuple(self.left()),
            waiting=tuple(self.faults()),
        )

    def reports(self, name: str) -> list[Report]:
        """Every report that tells of a request of this name, under whatever name it was put away."""
        found = []
        for place, suffix in (("done", ".result.json"), ("failed", ".error.json")):
            for path in sorted((self.folders.inbox / place).glob(f"*{suffix}")):
                told = json.loads(path.read_bytes())
                if told["name"] == name:
                    found.append(Report(name=name, ok=place == "done", told=told))
        return found

    def left(self) -> Iterator[str]:
        """What is still on its way: in the inbox, in work/, in the spool, at ComfyUI."""
        inbox, spool = self.folders.inbox, self.folders.folder / "state" / "spool"
        for place in (inbox, inbox / "work", spool):
            found = sorted(place.iterdir()) if place.is_dir() else []
            yield from (str(path.relative_to(self.folders.folder)) for path in found if _is_request(path, inbox))
        yield from (f"prompt {prompt}" for prompt in self.queue())

    def unsound(self, report: Report) -> Iterator[str]:
        """What is wrong with the outputs of a report."""
        for told in report.told["outputs"]:
            path = self.folders.outputs / told["key"]
            try:
                content, sidecar = path.read_bytes(), json.loads(path.with_name(f"{path.name}.json").read_bytes())
                check_image(content)
            except (OSError, ValueError, ComfyGenError) as exc:
                yield f"{told['key']} cannot be used: {exc}"
                continue
            if not told["sha256"] == sidecar["sha256"] == hashlib.sha256(content).hexdigest():
                yield f"{told['key']} is not what its report and its sidecar say"


def _is_request(path: Path, inbox: Path) -> bool:
    """Whether something waits for the service: what the inbox keeps for itself does not."""
    return path.parent != inbox or (path.is_file() and not path.name.startswith(".comfygen"))


def installed_service() -> Path:
    """The service that was installed with this Python. Raises NotInstalled if there is none."""
    path = Path(sys.executable).with_name("comfygend")
    if not path.is_file():
        hint = "Install ComfyGen into this Python as a whole: `pip install .` in its folder."
        raise NotInstalled(f"There is no comfygend beside {sys.executable}.", hint=hint)
    return path
