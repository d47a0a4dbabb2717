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
