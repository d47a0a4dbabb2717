"""Is a dropped file complete?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfygend.inbox.stability import Look, Writers, is_complete, is_settled

LOOK = Look(device=1, inode=2, size=3, mtime_ns=4, at=10.0)


@pytest.mark.parametrize(
    ("writers", "now", "complete"),
    [
        (Writers.NONE, 10.0, True),
        (Writers.SOME, 99.0, False),
        (Writers.UNKNOWN, 11.9, False),
        (Writers.UNKNOWN, 12.0, True),
    ],
)
def test_a_lease_answers_at_once_and_time_only_where_there_is_none(
    writers: Writers, now: float, complete: bool
) -> None:
    """A writer keeps a file incomplete for as long as it has it open."""
    assert is_complete(LOOK, writers, now=now) is complete


def test_an_unchanged_file_keeps_the_time_of_the_first_look() -> None:
    """Stability is counted from when these values were first seen."""
    assert replace(LOOK, at=20.0).since(LOOK).at == 10.0


@pytest.mark.parametrize("change", [{"size": 9}, {"mtime_ns": 9}, {"inode": 9}, {"device": 9}])
def test_any_change_starts_the_clock_again(change: dict[str, int]) -> None:
    """Size, time, inode or device: what changed is not stable."""
    assert replace(LOOK, at=20.0, **change).since(LOOK).at == 20.0


def test_a_broken_file_is_left_alone_for_a_while() -> None:
    """It may only be half written yet."""
    assert tuple(is_settled(LOOK, now=now, settle=1.0) for now in (10.5, 11.0)) == (False, True)
