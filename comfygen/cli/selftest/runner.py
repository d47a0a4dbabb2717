"""Runner: one case after the other on one bench, each until everything about its request is quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comfygen.cli.selftest.bench import Bench, Snapshot
from comfygen.cli.selftest.cases import Act, Case
from comfygen.cli.selftest.judging import judge, late
from comfygen.errors import ComfyGenError

PATIENCE = 45.0
AFTERWARDS = "afterwards"
SAID_LINES = 3


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a case. `wrong`: what was seen instead of what was promised; empty if the promise was kept.

    `final`: it did not come to its end, so that no other case can be tried.
    """

    name: str
    promise: str
    wrong: tuple[str, ...]
    seconds: float
    final: bool = False

    def to_json(self) -> dict[str, object]:
        """For machines."""
        told = {"case": self.name, "ok": not self.wrong, "promise": self.promise}
        return told | {"seen_instead": list(self.wrong), "seconds": self.seconds}


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs cases. `patience`: how many seconds one may take; the first that takes longer is the last."""

    bench: Bench
    patience: float = PATIENCE

    def run(self, cases: Sequence[Case]) -> Iterator[Verdict]:
        """A verdict per case and, if all came to their end, one about what was seen after them."""
        self.bench.start()
        before = self.bench.snapshot()
        for case in cases:
            verdict, before = self._tried(case, before)
            yield verdict
            if verdict.final:
                return
        yield self._afterwards(before)

    def _tried(self, case: Case, before: Snapshot) -> tuple[Verdict, Snapshot]:
        begun, wrong, after = time.monotonic(), [], before
        name = f"{case.name.lower().replace(' ', '-')}.yaml"
        try:
            self._through(case, name, before)
        except (ComfyGenError, OSError) as exc:
            wrong += [str(exc), *(f"comfygend: {line}" for line in self._said() if line not in str(exc))]
        final = bool(wrong)
        try:
            after = self.bench.snapshot()
            wrong += judge(case, self.bench.seen(name, before, after))
            self.bench.ask("DELETE", "/simulator/faults")
        except (ComfyGenError, OSError) as exc:
            wrong.append(str(exc))
            final = True
        seconds = round(time.monotonic() - begun, 1)
        told = Verdict(name=case.name, promise=case.promise, wrong=tuple(wrong), seconds=seconds, final=final)
        return told, after

    def _through(self, case: Case, name: str, before: Snapshot) -> None:
        """Set the faults, drop the request, do what the case does, and wait until all is quiet."""
        self.bench.ask("POST", "/simulator/faults", list(case.faults))
        self.bench.folders.put(name, case.request.format(name=case.name).encode())
        if case.act is Act.KILL:
            self._wait("the run", before, "started", 1)
            self.bench.processes.kill("comfygend")
            if self.bench.snapshot().events(before, "ended"):
                raise ComfyGenError("The run was over before the service could be killed.")
            self.bench.start_service()
        elif case.act is Act.HEAL:
            self._wait("the second prompt", before, "accepted", 2)
            self.bench.ask("DELETE", "/simulator/faults")
        self.bench.processes.wait_for("its end", lambda: self.bench.is_quiet(name), seconds=self.patience)

    def _wait(self, what: str, before: Snapshot, event: str, times: int) -> None:
        """Until the simulator has done something so often."""
        self.bench.processes.wait_for(
            what, lambda: len(self.bench.snapshot().events(before, event)) >= times, seconds=self.patience
        )

    def _said(self) -> list[str]:
        """The last lines of the service."""
        try:
            return self.bench.processes.log("comfygend").splitlines()[-SAID_LINES:]
        except OSError:
            return []

    def _afterwards(self, before: Snapshot) -> Verdict:
        """Stop the service, and see whether anything was done that nobody had asked for."""
        begun = time.monotonic()
        code = self.bench.processes.stop("comfygend")
        wrong = [f"the service ended with code {code} when it was told to stop"] if code else []
        wrong += late(self.bench.seen("", before, self.bench.snapshot()))
        seconds = round(time.monotonic() - begun, 1)
        promise = "nothing was left behind, nothing was made twice"
        return Verdict(name=AFTERWARDS, promise=promise, wrong=tuple(wrong), seconds=seconds)
