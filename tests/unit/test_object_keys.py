"""Object keys: stamp, name, job, number; always unique, always short enough, never a way out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfygen.errors import KeyInvalid
from comfygen.sidecar import base_name, object_key, output_key, sidecar_key
from comfygen.store import key_problems

STAMP = datetime(2026, 1, 4, 1, 10, 32, 123456, tzinfo=UTC)
JOB = "abcdefgh2345"


def key(name: str, *, n: int | None = None, ext: str = "png", prefix: str = "") -> str:
    """An object key at the stamp above."""
    return object_key(stamp=STAMP, name=name, job=JOB, n=n, ext=ext, prefix=prefix)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"name": "lake"}, "20260104_011032_lake-abcdefgh2345.png"),
        ({"name": "lake", "n": 3, "ext": ".WEBP"}, "20260104_011032_lake-abcdefgh2345_3.webp"),
        ({"name": "lake", "prefix": "/gallery/2026/"}, "gallery/2026/20260104_011032_lake-abcdefgh2345.png"),
        ({"name": "Straße 東京 🌅 +%#"}, "20260104_011032_Straße 東京 🌅 +%#-abcdefgh2345.png"),
        ({"name": "../../etc/passwd"}, "20260104_011032__.._etc_passwd-abcdefgh2345.png"),
        ({"name": ".comfygen"}, "20260104_011032_comfygen-abcdefgh2345.png"),
        ({"name": 'a\\b:c*d?e"f<g>h|i\0j\x7f'}, "20260104_011032_a_b_c_d_e_f_g_h_i_j_-abcdefgh2345.png"),
        ({"name": "half \ud83c\u202egnp"}, "20260104_011032_half __gnp-abcdefgh2345.png"),
        ({"name": "A\u0308"}, "20260104_011032_Ä-abcdefgh2345.png"),
        ({"name": " . "}, "20260104_011032_output-abcdefgh2345.png"),
        ({"name": "lake", "ext": "../x"}, "20260104_011032_lake-abcdefgh2345.bin"),
    ],
)
def test_object_key(given_: dict[str, Any], expected: str) -> None:
    """A key is stamp, cleaned name, job, number, extension."""
    assert key(**given_) == expected


def test_stamp_is_told_in_utc() -> None:
    """Keys sort by time, wherever the service runs."""
    local = datetime(2026, 1, 4, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    made = object_key(stamp=local, name="lake", job=JOB, n=None, ext="png")
    assert made == "20260103_223000_lake-abcdefgh2345.png"


def test_two_jobs_of_one_second_do_not_collide() -> None:
    """The job makes the key unique, whatever clock and name say."""
    keys = {object_key(stamp=STAMP, name="lake", job=job, n=None, ext="png") for job in ("a" * 12, "b" * 12)}
    assert len(keys) == 2


@pytest.mark.parametrize("char", ["a", "ä", "東", "🌅", "x\u0323\u0302", "👩\u200d🚀", "👍🏽"])
def test_long_names_are_cut_between_characters(char: str) -> None:
    """A name of 300 characters is cut, but never inside one, and fits with its longest suffix."""
    made = key(char * 300, n=10)
    name = made.removeprefix("20260104_011032_").removesuffix("-abcdefgh2345_10.png")
    assert (name.replace(char, ""), 235 < len(f"{made}.error.json".encode()) <= 255) == ("", True)


@given(name=st.text(max_size=400), n=st.none() | st.integers(1, 10**6))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_every_name_gives_a_key_that_fits(name: str, n: int | None) -> None:
    """Whatever the name, a store takes the key, its sidecar and its error file, and it is one segment."""
    made = key(name, n=n)
    problems = [key_problems(made + suffix) for suffix in ("", ".json", ".error.json")]
    assert (problems, "/" in made) == ([[], [], []], False)


def test_impossible_prefix_is_refused() -> None:
    """A prefix that no store takes is told at once, before any GPU time."""
    with pytest.raises(KeyInvalid):
        key("lake", prefix="a//b")


def test_key_without_a_zone_is_refused() -> None:
    """Nobody guesses a zone."""
    with pytest.raises(ValueError, match="time zone"):
        object_key(stamp=datetime(2026, 1, 4), name="lake", job=JOB, n=None, ext="png")


@pytest.mark.parametrize(
    ("output", "workflow", "expected"),
    [
        ("lake.png", "flux-dev.json", "lake"),
        (None, "flux-dev.json", "flux-dev"),
        (None, "flux-dev", "flux-dev"),
        ("robot v1.5", "flux-dev", "robot v1.5"),
        ("clip.mp4", "wan22-t2v", "clip"),
        (".png", "flux-dev", ".png"),
    ],
)
def test_base_name(output: str | None, workflow: str, expected: str) -> None:
    """An output is called what the request says, without the suffix, or else as its workflow."""
    assert base_name(output=output, workflow=workflow) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("a.png.json", "a.png"), ("a.png", None), ("a.json", None), ("x/a.json.json", "x/a.json")]
)
def test_sidecar_key_and_back(name: str, expected: str | None) -> None:
    """A sidecar is told by the suffix behind its output's own."""
    assert output_key(name) == expected
    assert expected is None or sidecar_key(expected) == name
