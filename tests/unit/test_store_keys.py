"""Key rules: what MinIO, the strictest store we know, would refuse, said before anything is made."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfygen.errors import KeyInvalid
from comfygen.store import MAX_KEY_BYTES, check_key, key_problems

GOOD = [
    "a.png",
    "gallery/2026/a b+c%25#?&=.png",
    "Straße/東京/🌅.png",
    "..a/b..",
    "a" * 255,
    "/".join(["d" * 255] * 4),
    "🌅" * 63 + "abc",
]
BAD = [
    ("", "it is empty"),
    ("/a", "slash"),
    ("a/", "slash"),
    ("a//b", "slash"),
    ("../a", "'.' or '..'"),
    ("a/./b", "'.' or '..'"),
    ("a/..", "'.' or '..'"),
    ("a\0b", "control character"),
    ("a\nb", "control character"),
    ("a\x7fb", "control character"),
    ("a\\b", "backslash"),
    ("a" * 256, "at most 255"),
    ("🌅" * 64, "256 bytes"),
    ("/".join(["d" * 200] * 6), "at most 1024"),
    ("half \ud83c", "no valid Unicode"),
]


@pytest.mark.parametrize("key", GOOD)
def test_good_keys_pass(key: str) -> None:
    """A good key is returned as it is."""
    assert check_key(key) == key


@pytest.mark.parametrize(("key", "reason"), BAD)
def test_bad_keys_are_refused_with_the_reason(key: str, reason: str) -> None:
    """A bad key says what is wrong with it."""
    with pytest.raises(KeyInvalid) as caught:
        check_key(key)
    assert reason in str(caught.value)


def test_every_reason_is_told_at_once() -> None:
    """A key that is wrong in three ways is told all three."""
    assert len(key_problems(f"//../{'a' * 300}\0")) == 4


@given(key=st.text(max_size=40))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_what_passes_is_one_relative_path(key: str) -> None:
    """A key that passes has only proper parts, is UTF-8 and short enough; problems never raise."""
    if not key_problems(key):
        assert all(part not in {"", ".", ".."} for part in key.split("/"))
        assert len(key.encode()) <= MAX_KEY_BYTES
