"""The torture's verdict finds what is lost, doubled or wrong: a judge that finds nothing proves nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.torture.journal import Runs, read_journal
from tests.torture.orders import Order, make_order
from tests.torture.soak import Samples
from tests.torture.verdict import Facts, Verdict, judge

KEY, BODY = "20260501_120000_lake-abc.png", b'picture {"seed": 7}'
ORDER = Order(name="lake.yaml", text="seed: 7\n", seeds=(7,), expected={"steps": 2})
SIDECAR = {"seed": 7, "job": "abc", "key": KEY, "bytes": len(BODY), "simulated": True, "steps": 2}
SIDECAR["sha256"] = hashlib.sha256(BODY).hexdigest()


def report(**changes: Any) -> bytes:
    """What the service says about it."""
    told = {"request": "r1", "name": "lake.yaml", "outputs": [{"key": KEY, "job": "abc", "seed": 7}]}
    return json.dumps(told | {"jobs": [{"job": "abc", "status": "published", "seed": 7}]} | changes).encode()


def facts(**changes: Any) -> Facts:
    """All is well with one request."""
    well = Facts(
        orders=[ORDER],
        requests={"done/lake.yaml": b"seed: 7\n", "done/lake.yaml.result.json": report()},
        objects={KEY: BODY, f"{KEY}.json": json.dumps(SIDECAR).encode()},
        rows=[[{"key": KEY}]],
        again=[[{"key": KEY}]],
        runs={"abc": Runs(accepted=[(1.0, "p1")], good=[(2.0, "p1")], begun=1)},
        deaths=[],
    )
    return replace(well, **changes)


def counts(verdict: Verdict) -> tuple[int, int, int]:
    return len(verdict.lost), len(verdict.doubled), len(verdict.wrong)


def test_where_all_is_well_nothing_is_found() -> None:
    """Zero, zero, zero."""
    assert counts(judge(facts())) == (0, 0, 0)
    assert judge(facts()).ok


TWICE = Runs(accepted=[(1.0, "p1"), (3.0, "p2")], good=[(2.0, "p1"), (4.0, "p2")], begun=2)
WRONG: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "two reports": (
        {"requests": {"done/lake.yaml.result.json": report(), "done/r2-lake.yaml.result.json": report()}},
        (0, 1),
    ),
    "another output": ({"objects": {**facts().objects} | {"other.png": BODY}}, (0, 1)),
    "two runs": ({"runs": {"abc": TWICE}}, (0, 1)),
    "no run": ({"runs": {}}, (0, 0)),
    "another file": ({"requests": {**facts().requests} | {"done/lake.yaml": b"seed: 8\n"}}, (0, 0)),
    "no output": ({"objects": {}}, (0, 0)),
    "another picture": ({"objects": {**facts().objects} | {KEY: b'picture {"seed": 8}'}}, (0, 0)),
    "no row": ({"rows": [[]], "again": [[]]}, (0, 0)),
    "another row": ({"again": [[{"key": KEY, "steps": 3}]]}, (0, 0)),
    "something left": ({"left": ["work/lake.yaml"]}, (0, 0)),
    "a prompt of nobody": ({"strangers": ["p9"]}, (0, 0)),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_found(name: str) -> None:
    """And counted where it belongs."""
    changes, (lost, doubled) = WRONG[name]
    verdict = judge(facts(**changes))
    assert not verdict.ok
    assert (len(verdict.lost), len(verdict.doubled)) == (lost, doubled)
    assert doubled or verdict.wrong


def test_a_request_without_a_report_is_lost() -> None:
    """Whatever else there is of it."""
    assert judge(facts(requests={"done/lake.yaml": b"seed: 7\n"})).lost == ["lake.yaml: 0 reports"]


def test_a_run_is_only_repeated_when_comfyui_has_died() -> None:
    """Between the end of the first and the start of the second."""
    verdict = judge(facts(runs={"abc": TWICE}, deaths=[2.5]))
    assert (verdict.ok, verdict.repeated) == (True, 1)
    assert judge(facts(runs={"abc": TWICE}, deaths=[1.5, 3.5])).doubled


def test_a_failure_needs_a_reason_in_the_journal() -> None:
    """A job that says that a node failed, while none did, is wrong."""
    job = {"job": "abc", "status": "failed", "seed": 7, "error": {"code": "execution_failed"}}
    requests = {"failed/lake.yaml": b"seed: 7\n", "failed/lake.yaml.error.json": report(outputs=[], jobs=[job])}
    without = facts(requests=requests, objects={}, rows=[[]], again=[[]])
    assert judge(without).wrong
    assert judge(replace(without, runs={"abc": Runs(bad=["error"])})).ok


def test_the_journal_is_read_up_to_a_line_that_was_cut_off(tmp_path: Path) -> None:
    """A kill in the middle of a line costs that line."""
    lines = [
        {"event": "accepted", "prompt_id": "p1", "received_at": 1.0},
        {"event": "started", "prompt_id": "p1", "at": 1.1},
        {"event": "ended", "prompt_id": "p1", "at": 1.2, "status": "lost", "sampler_runs": 0},
        {"event": "started", "prompt_id": "p9", "at": 1.3},
    ]
    (tmp_path / "log").write_text("\n".join(map(json.dumps, lines)) + '\n{"event": "sta', encoding="utf-8")
    runs, deaths, strangers = read_journal([tmp_path / "log"], {"p1": "abc"})
    assert runs == {"abc": Runs(accepted=[(1.0, "p1")], bad=["lost"], begun=1)}
    assert (deaths, strangers) == ([1.2], ["p9"])


def test_orders_are_the_same_for_the_same_seed() -> None:
    """And others for another one."""
    assert make_order(3, 1) == make_order(3, 1)
    assert [make_order(n, 1).text for n in range(9)] != [make_order(n, 2).text for n in range(9)]


def test_growth_is_not_flat() -> None:
    """Neither of memory nor of open files; growing into one's size is."""
    level = [(float(n), 100_000 + min(n, 10) * 1000, 20, n) for n in range(60)]
    assert Samples(level).flat
    assert not Samples([(t, kb + int(t) * 3000, files, n) for t, kb, files, n in level]).flat
    assert not Samples([(t, kb, files + int(t), n) for t, kb, files, n in level]).flat
