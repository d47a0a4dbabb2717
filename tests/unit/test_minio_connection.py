"""The connection to a bucket: what it reads faster than botocore does, and no differently."""

from __future__ import annotations

import pytest
from botocore.utils import parse_timestamp

from comfygen.minio_client.connection import read_time


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-04T01:10:32.123Z",
        "2026-01-04T01:10:32Z",
        "2026-01-04T01:10:32+00:00",
        "Sun, 04 Jan 2026 01:10:32 GMT",
        "Sun, 04 Jan 2026 02:10:32 +0100",
        "2026-01-04 01:10:32.5",
        "1767489032",
        "January 4, 2026 01:10",
    ],
)
def test_times_are_read_as_botocore_reads_them(text: str) -> None:
    """Whatever a server writes means the same, down to its spelling: ids of requests are made from it."""
    assert read_time(text).isoformat() == parse_timestamp(text).isoformat()


def test_what_is_no_time_is_refused_as_botocore_refuses_it() -> None:
    """The error is one that botocore's parsers expect."""
    with pytest.raises(ValueError, match="Invalid timestamp"):
        read_time("yesterday")
