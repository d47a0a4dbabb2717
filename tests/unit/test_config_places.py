"""Where requests arrive and outputs go must be places apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfygen.config import load_config
from comfygen.errors import ConfigInvalid


@pytest.mark.parametrize(
    ("prefix", "inboxes", "mistake"),
    [
        ("requests/", ["requests/"], "would fall into the inbox"),
        ("requests/out/", ["requests/"], "would fall into the inbox"),
        ("", ["requests/", "requests/more/"], "overlap"),
        ("", ["requests/", "requests/"], "overlap"),
        ("", [".comfygen/"], "inbox.0.prefix"),
        ("", ["requests"], "inbox.0.prefix"),
    ],
)
def test_prefixes_that_overlap_are_refused_at_the_start(
    tmp_path: Path, prefix: str, inboxes: list[str], mistake: str
) -> None:
    """Outputs must not be taken for requests, nor one request by two inboxes."""
    places = "".join(f"  - prefix: {inbox}\n" for inbox in inboxes)
    store = f"store: {{endpoint: 'http://a', bucket: art, prefix: '{prefix}', access_key: a, secret_key: b}}\n"
    (tmp_path / "comfygen.yaml").write_text(f"inbox:\n{places}{store}", encoding="utf-8")
    with pytest.raises(ConfigInvalid, match=mistake):
        load_config(tmp_path / "comfygen.yaml", {})


@pytest.mark.parametrize(
    ("store", "inboxes", "mistake"),
    [
        ("./requests", ["./requests"], "would fall into the inbox"),
        ("./requests/out", ["./requests"], "would fall into the inbox"),
        ("./art/../requests/out", ["./requests"], "would fall into the inbox"),
        ("./linked/out", ["./requests"], "would fall into the inbox"),
        ("./requests/out", ["./linked"], "would fall into the inbox"),
        ("./art", ["./requests", "./linked"], "overlap"),
        ("./art", ["./requests", "./more/../requests"], "overlap"),
        ("./art", ["./requests", "./requests/failed"], "overlap"),
    ],
)
def test_folders_that_overlap_are_refused_at_the_start(
    tmp_path: Path, store: str, inboxes: list[str], mistake: str
) -> None:
    """However they are spelt, and whatever links lead to them."""
    (tmp_path / "requests").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "requests")
    places = "".join(f"  - folder: {inbox}\n" for inbox in inboxes)
    (tmp_path / "comfygen.yaml").write_text(f"inbox:\n{places}store: {{folder: {store}}}\n", encoding="utf-8")
    with pytest.raises(ConfigInvalid, match=mistake):
        load_config(tmp_path / "comfygen.yaml", {})


def test_folders_apart_are_taken(tmp_path: Path) -> None:
    """A loop of links, too, is nobody's error here, and an inbox may lie inside another one."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    text = "inbox:\n  - folder: ./requests\n  - folder: ./requests/urgent\nstore: {folder: ./loop}\n"
    (tmp_path / "comfygen.yaml").write_text(text, encoding="utf-8")
    assert len(load_config(tmp_path / "comfygen.yaml", {}).inbox) == 2
