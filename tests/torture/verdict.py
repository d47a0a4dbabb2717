"""Verdict: what was lost, what was doubled, what is wrong. Judged from outside, after everything has stopped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.torture.journal import Runs
from tests.torture.orders import Order

Row = Mapping[str, Any]
CRASHES = 2  # ComfyUI may die so often of one job
REPORT_OF = {".result.json": True, ".error.json": False}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that is left when it is quiet."""

    orders: Sequence[Order]
    requests: Mapping[str, bytes]
    objects: Mapping[str, bytes]
    rows: Sequence[Sequence[Row]]
    again: Sequence[Sequence[Row]]  # the rows of an index that was made anew
    runs: Mapping[str, Runs]
    deaths: Sequence[float]
    taken_over: frozenset[str] = frozenset()  # requests that went from one service to another
    strangers: Sequence[str] = ()
    left: Sequence[str] = ()
    wrong: Sequence[str] = ()


@dataclass
class Verdict:
    """Three lists that have to be empty."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    repeated: int = 0  # runs that had to be repeated, because ComfyUI had died
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


def judge(facts: Facts) -> Verdict:
    """Look at everything."""
    verdict = Verdict()
    known: set[str] = set()
    reports = _reports(facts)
    for order in facts.orders:
        mine = reports.get(order.name, [])
        known |= {output["key"] for _, told in mine for output in told["outputs"]}
        if len(mine) != 1:
            (verdict.doubled if mine else verdict.lost).append(f"{order.name}: {len(mine)} reports")
            continue
        verdict.wrong += [f"{order.name}: {what}" for what in _order(order, *mine[0], facts, verdict)]
    outputs = {key for key in facts.objects if not key.endswith(".json")}
    verdict.doubled += [f"{key} is in no report" for key in sorted(outputs - known)]
    verdict.wrong += [f"{key} has no output" for key in sorted(facts.objects) if key.removesuffix(".json") not in known]
    _runs(facts, reports, verdict)
    verdict.wrong += [f"the index {n} is not equal to the store: {what}" for n, what in _index(facts, outputs)]
    verdict.wrong += [f"left behind: {name}" for name in facts.left] + list(facts.wrong)
    verdict.wrong += [f"prompt {prompt} is no job's" for prompt in facts.strangers]
    return verdict


def _reports(facts: Facts) -> dict[str, list[tuple[bool, dict[str, Any]]]]:
    """Every report by the name of the file that it tells of, wherever it was put."""
    found: dict[str, list[tuple[bool, dict[str, Any]]]] = defaultdict(list)
    for name, content in facts.requests.items():
        for suffix, ok in REPORT_OF.items():
            if name.endswith(suffix):
                told = json.loads(content)
                found[told["name"]].append((ok, told))
    return found


def _order(order: Order, ok: bool, told: dict[str, Any], facts: Facts, verdict: Verdict) -> Iterator[str]:
    """What is wrong with the ending of one order."""
    place = "done" if ok else "failed"
    if facts.requests.get(f"{place}/{order.name}") != order.text.encode():
        yield f"its file is not in {place}/ as it was dropped"
    if not order.seeds:
        if ok or told["outputs"]:
            yield "it cannot be used, and was"
        return
    failed = [job for job in told["jobs"] if job["status"] == "failed"]
    if ok is bool(failed):
        yield f"it is {place} with {len(failed)} failed jobs"
    yield from (what for job in failed if (what := _excuse(job, facts, verdict)))
    made = Counter([output["seed"] for output in told["outputs"]] + [job["seed"] for job in failed])
    if made != Counter(order.seeds):
        yield f"seeds {sorted(made.elements())} instead of {list(order.seeds)}; {json.dumps(told.get('error'))}"
    for output in told["outputs"]:
        yield from (f"{output['key']}: {what}" for what in _output(order, output, facts.objects))


def _excuse(job: dict[str, Any], facts: Facts, verdict: Verdict) -> str | None:
    """Why a job that could be done was not: what ComfyUI did must say so, too."""
    code, runs = job["error"]["code"], facts.runs.get(job["job"], Runs())
    verdict.failed[code] += 1
    lost = runs.begun - len(runs.good) - len([status for status in runs.bad if status != "lost"])
    good = {"execution_failed": "error" in runs.bad, "quarantined": lost >= CRASHES}
    return None if good.get(code) else f"job {job['job']} failed: {json.dumps(job['error'])}"


def _output(order: Order, output: dict[str, Any], objects: Mapping[str, bytes]) -> Iterator[str]:
    """What is wrong with an output and its sidecar."""
    key = output["key"]
    body, sidecar = objects.get(key), objects.get(f"{key}.json")
    if body is None or sidecar is None:
        yield "it is not in the store with its sidecar"
        return
    told = json.loads(sidecar)
    expected = order.expected | {"seed": output["seed"], "job": output["job"], "key": key, "bytes": len(body)}
    expected |= {"sha256": hashlib.sha256(body).hexdigest(), "simulated": True}
    yield from (f"{k} is {told.get(k)!r}, not {v!r}" for k, v in expected.items() if told.get(k) != v)
    if f'"seed": {output["seed"]}'.encode() not in body:
        yield f"the picture is not that of seed {output['seed']}"


def _runs(facts: Facts, reports: Mapping[str, Iterable[tuple[bool, dict[str, Any]]]], verdict: Verdict) -> None:
    """No job did the GPU's work twice while ComfyUI lived, but for those that went from one service to another."""
    request_of = {job["job"]: told["request"] for mine in reports.values() for _, told in mine for job in told["jobs"]}
    for job, runs in facts.runs.items():
        verdict.repeated += max(len(runs.good) - 1, 0)
        if request_of.get(job) not in facts.taken_over and (needless := runs.needless(facts.deaths)):
            verdict.doubled.append(f"job {job} was generated {needless + 1} times while ComfyUI lived")
    published = {o["job"] for mine in reports.values() for _, told in mine for o in told["outputs"]}
    verdict.wrong += [f"job {job} was never run" for job in sorted(published - facts.runs.keys())]


def _index(facts: Facts, outputs: set[str]) -> Iterator[tuple[int, str]]:
    for n, (rows, again) in enumerate(zip(facts.rows, facts.again, strict=True), start=1):
        keys = {str(row["key"]) for row in rows}
        if keys != outputs:
            yield n, f"{len(keys - outputs)} too many, {len(outputs - keys)} missing {sorted(outputs ^ keys)[:3]}"
        if different := [row["key"] for row, other in zip(rows, again, strict=False) if row != other]:
            yield n, f"made anew, {len(different)} rows are different, such as {different[0]}"
        if len(rows) != len(again):
            yield n, f"{len(rows)} rows, and {len(again)} when it is made anew"
