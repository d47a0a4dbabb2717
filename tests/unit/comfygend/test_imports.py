"""What the service imports when it starts: nothing that its configuration does not need."""

from __future__ import annotations

import subprocess
import sys

SLOW = ("aiobotocore", "av", "httpx", "datasette", "rich")


def test_the_service_starts_without_what_only_some_configurations_need() -> None:
    """A start costs half a second as it is; the client of buckets alone would be half as much again."""
    code = f"import sys, comfygend.__main__; print([name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
