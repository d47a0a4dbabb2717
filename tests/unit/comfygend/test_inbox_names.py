"""Which names are requests, and how odd names are shown and cut."""

from __future__ import annotations

import pytest

from comfygend.inbox.names import fitted, is_request_name, printable, request_name


@pytest.mark.parametrize("name", ["a.yaml", "A.YML", "b.json", "two words.yaml", "süß.yaml"])
def test_request_names(name: str) -> None:
    """YAML and JSON files are requests, whatever their case."""
    assert is_request_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        "picture.png",
        ".hidden.yaml",
        "~$a.yaml",
        "a.yaml~",
        "a.yaml.tmp",
        "a.yaml.part",
        "a.yaml.crdownload",
        ".a.yaml.swp",
        ".syncthing.a.yaml.tmp",
        "~syncthing~a.yaml",
        "._a.yaml",
        "a.yaml.result.json",
        "a.yaml.error.json",
        "landscape.example.yaml",
    ],
)
def test_other_names(name: str) -> None:
    """Temporary files of editors and sync tools, our own reports and the examples are no requests."""
    assert not is_request_name(name)


def test_a_name_that_is_no_utf8_is_shown_escaped() -> None:
    """Bytes that are no UTF-8, and control characters, become visible escapes."""
    assert printable(b"caf\xe9\x1b.yaml".decode("utf-8", "surrogateescape")) == "caf\\xe9\\x1b.yaml"


@pytest.mark.parametrize("name", ["x" * 300 + ".yaml", "ü" * 200 + ".yaml", "🚗" * 90 + ".json", "x" * 300])
def test_fitted_names_stay_within_255_bytes(name: str) -> None:
    """The stem is cut at a character; prefix, ending and suffix stay."""
    cut = fitted("id__", name, ".error.json")
    assert len(cut.encode()) <= 255
    assert cut.startswith("id__")
    assert cut.endswith(".error.json")


def test_short_names_are_not_touched() -> None:
    """Nothing is cut that need not be."""
    assert fitted("", "robot.yaml", ".result.json") == "robot.yaml.result.json"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("requests/lake.yaml", "lake.yaml"),
        ("requests/done/lake.yaml", None),
        ("requests/lake.yaml.result.json", None),
        ("requests/lake.png", None),
        ("requests/", None),
    ],
)
def test_a_request_object_lies_right_below_its_prefix(key: str, name: str | None) -> None:
    """What was put away, reports and everything else are none."""
    assert request_name("requests/", key) == name
