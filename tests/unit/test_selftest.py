"""The selftest's judgements: a judge that cannot fail proves nothing."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from comfygen.cli.folders import Folders, Report
from comfygen.cli.processes import Processes
from comfygen.cli.selftest.bench import Bench, NotInstalled, Snapshot, installed_service
from comfygen.cli.selftest.cases import CASES, Case
from comfygen.cli.selftest.command import chosen, lines
from comfygen.cli.selftest.judging import Seen, judge, late
from comfygen.cli.selftest.runner import Verdict
from comfygen.request import parse_requests
from comfygen.simulator import KINDS, Fault
from comfygend.spool import FETCHES
from tests import making

KEY = "20261128_053925_lake.png"
DONE = Case(name="a lake")
FAILED = Case(name="a dry lake", code="execution_failed", prompts=2, sampled=0)
MADE = Seen(
    endings=("done",), outputs=(KEY,), stored=(KEY, f"{KEY}.json"), indexed=(KEY,), unsound=(), prompts=1, sampled=1
)
GONE = Seen(endings=("execution_failed",), prompts=2, sampled=0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    folders = Folders(folder=tmp_path)
    folders.make("")
    return Bench(folders=folders, processes=Processes(folder=tmp_path), environ={})


# -- the cases --------------------------------------------------------------------------------------------------------


def test_every_fault_of_the_simulator_has_a_case() -> None:
    """One that is added there is missed here."""
    assert {fault["kind"] for case in CASES for fault in case.faults} == KINDS.keys()


def test_the_cases_can_be_run() -> None:
    """Every fault is one that the simulator takes; every request is usable, but for the one that must not be."""
    assert all(Fault.from_json(fault) for case in CASES for fault in case.faults)
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        text = case.request.format(name=case.name).encode()
        if case.code != "request_invalid":
            assert parse_requests(text, file="lake.yaml")[0].prompt == f"a mountain lake, {case.name}"
    (never_found,) = (case for case in CASES if case.name == "output never found")
    assert never_found.faults[0]["times"] == FETCHES


def test_cases_are_chosen_by_words() -> None:
    """All of them without a word; a word that is in none is a mistake."""
    assert chosen([]) == list(CASES)
    assert [case.name for case in chosen(["events", "killed"])] == [
        "duplicate events",
        "missing events",
        "service killed in mid job",
    ]
    with pytest.raises(click.UsageError, match="'robot' in its name; there are: no fault"):
        chosen(["events", "robot"])


# -- the judge --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "seen"), [(DONE, MADE), (FAILED, GONE)], ids=["done", "failed"])
def test_a_promise_that_was_kept(case: Case, seen: Seen) -> None:
    """Nothing is wrong."""
    assert judge(case, seen) == []


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"endings": ()}, "it has not ended"),
        ({"endings": ("stalled",)}, "ended as stalled instead of done"),
        ({"endings": ("done", "done")}, "ended as done and done instead of done"),
        ({"stored": (KEY,)}, f"{KEY}.json is not in the store"),
        ({"stored": (f"{KEY}.json",)}, f"{KEY} is not in the store"),
        ({"stored": (*MADE.stored, "more.png")}, "more.png is in the store and in no report"),
        ({"indexed": ()}, f"{KEY} is not in index.db"),
        ({"indexed": (KEY, "more.png")}, "more.png is in index.db and in no report"),
        ({"unsound": ("lake.png is cut off",)}, "lake.png is cut off"),
        ({"prompts": 2}, "2 prompts instead of 1"),
        ({"prompts": 0}, "0 prompts instead of 1"),
        ({"sampled": 2}, "generated 2 times instead of generated once"),
        ({"sampled": 0}, "never generated instead of generated once"),
        ({"left": ("requests/work/lake.yaml",)}, "left behind: requests/work/lake.yaml"),
        ({"waiting": ("lost_ack",)}, "the fault lost_ack did not strike"),
    ],
)
def test_each_broken_promise_is_told(changes: dict[str, Any], wrong: str) -> None:
    """That one thing, and nothing else."""
    assert judge(DONE, replace(MADE, **changes)) == [wrong]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"endings": ("out_of_memory",)}, "ended as out_of_memory instead of execution_failed"),
        ({"prompts": 3}, "3 prompts instead of 2"),
        ({"sampled": 1}, "generated once instead of never generated"),
        ({"stored": (KEY,)}, f"{KEY} is in the store and in no report"),
    ],
)
def test_what_has_to_fail_must_fail_as_promised(changes: dict[str, Any], wrong: str) -> None:
    """With that code, and leaving nothing."""
    assert judge(FAILED, replace(GONE, **changes)) == [wrong]


def test_done_where_a_failure_was_promised() -> None:
    """Everything about it is wrong, then."""
    wrong = judge(FAILED, MADE)
    assert {"ended as done instead of execution_failed", "1 outputs instead of 0"} <= set(wrong)


def test_a_second_output_of_one_report_is_told() -> None:
    """Although store and index agree with it."""
    twice = replace(MADE, outputs=(KEY, "b.png"), stored=(*MADE.stored, "b.png", "b.png.json"), indexed=(KEY, "b.png"))
    assert judge(DONE, twice) == ["2 outputs instead of 1"]


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (Seen(), []),
        (Seen(prompts=1), ["1 prompts more"]),
        (Seen(stored=(KEY,)), [f"{KEY} is in the store and in no report"]),
        (Seen(indexed=(KEY,)), [f"{KEY} is in index.db and in no report"]),
        (Seen(left=("prompt 1",)), ["left behind: prompt 1"]),
    ],
)
def test_whatever_comes_after_the_end_is_told(seen: Seen, wrong: list[str]) -> None:
    """Nobody had asked for it."""
    assert late(seen) == wrong


def test_a_verdict_is_told_to_people_and_machines() -> None:
    """One line, or one more for each thing that was seen instead."""
    good = Verdict(name="a lake", promise=DONE.promise, wrong=(), seconds=0.5)
    assert lines(good) == ["ok      a lake: done, generated once"]
    bad = replace(good, promise=FAILED.promise, wrong=("it has not ended", "first\nsecond"))
    assert lines(bad) == [
        "FAILED  a lake: promised: failed with execution_failed, never generated, 2 prompts; seen:",
        "        - it has not ended",
        "        - first",
        "        - second",
    ]
    assert (good.to_json()["ok"], bad.to_json()["ok"]) == (True, False)
    assert bad.to_json()["seen_instead"] == ["it has not ended", "first\nsecond"]


# -- what is looked at ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["none", "gone", "cut off", "no sidecar", "another picture", "another sidecar"])
def test_an_output_is_looked_at_itself(bench: Bench, harm: str) -> None:
    """Its bytes, not only its name."""
    picture, other = making.picture(), making.picture(64, 64)
    told = {"key": KEY, "sha256": hashlib.sha256(picture).hexdigest()}
    path, sidecar = bench.folders.outputs / KEY, bench.folders.outputs / f"{KEY}.json"
    path.parent.mkdir()
    path.write_bytes({"cut off": picture[:-20], "another picture": other}.get(harm, picture))
    sidecar.write_text(json.dumps(told | ({"sha256": ""} if harm == "another sidecar" else {})), encoding="utf-8")
    for gone, lost in (("gone", path), ("no sidecar", sidecar)):
        if harm == gone:
            lost.unlink()
    wrong = list(bench.unsound(Report(name="lake.yaml", ok=True, told={"outputs": [told]})))
    assert [KEY in line for line in wrong] == ([] if harm == "none" else [True])


def test_a_second_report_is_found_under_another_name(bench: Bench) -> None:
    """A request that was taken twice is put away beside the first."""
    for place, file, name in (
        ("done", "lake.yaml.result.json", "lake.yaml"),
        ("done", "01m8-lake.yaml.result.json", "lake.yaml"),
        ("failed", "lake.yaml.error.json", "lake.yaml"),
        ("failed", "road.yaml.error.json", "road.yaml"),
    ):
        (bench.folders.inbox / place).mkdir(exist_ok=True)
        (bench.folders.inbox / place / file).write_text(json.dumps({"name": name}), encoding="utf-8")
    assert [report.ok for report in bench.reports("lake.yaml")] == [True, True, False]


def test_snapshots_tell_what_came_between_them(bench: Bench) -> None:
    """A line of the journal that is not whole yet, and the store's own files, are left out."""
    bench.journal.write_text('{"event": "accepted"}\n', encoding="utf-8")
    before = bench.snapshot()
    with bench.journal.open("a", encoding="utf-8") as journal:
        journal.write('{"event": "started"}\n{"event": "accepted"}\n{"event": "en')
    (bench.folders.outputs / ".comfygen").mkdir(parents=True)
    for name in (".comfygen/store.json", KEY):
        (bench.folders.outputs / name).write_text("", encoding="utf-8")
    after = bench.snapshot()
    assert isinstance(after, Snapshot)
    assert [len(after.events(before, event)) for event in ("accepted", "started", "ended")] == [1, 1, 0]
    assert after.stored - before.stored == {KEY}


def test_a_service_that_is_not_installed_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With where it was looked for."""
    assert installed_service().name == "comfygend"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(NotInstalled, match=f"no comfygend beside {tmp_path}/python"):
        installed_service()
