"""Acceptance tests that take long are left out of `make check`; `make test` runs everything."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

QUICK = {"test_main_job", "test_good_and_bad", "test_kills", "test_commands"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow ones."""
    for item in items:
        parts = item.nodeid.split("::")[0].split("/")
        if "acceptance" in parts and parts[-1].removesuffix(".py") not in QUICK:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that other users reach; pytest's own are closed to them, also again while a test runs."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
