"""The places of a folder inbox, at the start of the service."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from comfygen.errors import InboxError
from comfygend.inbox.folder import FolderInbox
from comfygend.inbox.places import MARKER


def test_places_on_other_file_systems_are_refused(tmp_path: Path) -> None:
    """Requests are renamed into them, which cannot be done across file systems."""
    (tmp_path / "work").symlink_to("/proc/self")
    with pytest.raises(InboxError, match="work: it is another mount"):
        FolderInbox(tmp_path).prepare()


def test_a_prepared_inbox_is_not_written_to_again(tmp_path: Path) -> None:
    """So that the service starts although the inbox is full or read-only for the moment."""
    FolderInbox(tmp_path).prepare()
    before = (tmp_path / MARKER).stat().st_ino, (tmp_path / MARKER).stat().st_mtime_ns
    FolderInbox(tmp_path).prepare()
    assert ((tmp_path / MARKER).stat().st_ino, (tmp_path / MARKER).stat().st_mtime_ns) == before


def test_a_stray_that_cannot_be_given_back_hinders_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It stays in work/ and is named; the others are given back."""
    inbox = FolderInbox(tmp_path)
    inbox.prepare()
    for name in ("r1__a.yaml", "r2__b.yaml"):
        (tmp_path / "work" / name).write_text("x", encoding="utf-8")
    for name in ("a.yaml", "r1__a.yaml"):
        (tmp_path / name).mkdir()
    with caplog.at_level(logging.WARNING):
        assert inbox.strays(set()) == ["r2__b.yaml"]
    assert (tmp_path / "work" / "r1__a.yaml").exists()
    assert "r1__a.yaml cannot be given back" in caplog.text
