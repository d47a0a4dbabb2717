"""Judging: what was promised against what was seen. Pure, and it names every difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comfygen.cli.selftest.cases import Case, times


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All that came of one request, looked at from outside.

    `endings`: one per report, "done" or the code of an error. `outputs`: the keys that the reports name. `stored` and
    `indexed`: what is new in the store and in the index. `unsound`: outputs that are not what report or sidecar say.
    `left`: what still lies in inbox, spool or ComfyUI's queue. `waiting`: faults that never struck.
    """

    endings: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    indexed: tuple[str, ...] = ()
    unsound: tuple[str, ...] = ()
    prompts: int = 0
    sampled: int = 0
    left: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def judge(case: Case, seen: Seen) -> list[str]:
    """Every promise that was not kept, in words; empty if all were."""
    return [*_ending(case, seen), *_made(case, seen), *_work(case, seen)]


def late(seen: Seen) -> list[str]:
    """What came after all requests had ended, in words: nothing may."""
    made = [*_differences("the store", seen.stored, ()), *_differences("index.db", seen.indexed, ())]
    more = [f"{seen.prompts} prompts more"] if seen.prompts else []
    return [*made, *more, *(f"left behind: {what}" for what in seen.left)]


def _ending(case: Case, seen: Seen) -> Iterator[str]:
    promised = case.code or "done"
    if not seen.endings:
        yield "it has not ended"
    elif seen.endings != (promised,):
        yield f"ended as {' and '.join(seen.endings)} instead of {promised}"


def _made(case: Case, seen: Seen) -> Iterator[str]:
    """One output with its sidecar and its row, or nothing at all."""
    wanted = 0 if case.code else 1
    if len(seen.outputs) != wanted:
        yield f"{len(seen.outputs)} outputs instead of {wanted}"
    yield from _differences("the store", seen.stored, [*seen.outputs, *(f"{key}.json" for key in seen.outputs)])
    yield from _differences("index.db", seen.indexed, seen.outputs)
    yield from seen.unsound


def _differences(place: str, found: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    yield from (f"{key} is not in {place}" for key in sorted(set(wanted) - set(found)))
    yield from (f"{key} is in {place} and in no report" for key in sorted(set(found) - set(wanted)))


def _work(case: Case, seen: Seen) -> Iterator[str]:
    if seen.prompts != case.prompts:
        yield f"{seen.prompts} prompts instead of {case.prompts}"
    if seen.sampled != case.sampled:
        yield f"{times(seen.sampled)} instead of {times(case.sampled)}"
    yield from (f"left behind: {what}" for what in seen.left)
    yield from (f"the fault {kind} did not strike" for kind in seen.waiting)
