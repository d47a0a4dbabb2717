"""The command that serves history, and the configuration that it writes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from comfygen.cli import cli
from comfygen.config import load_config
from comfygen.datasette import history_command
from comfygen.datasette.configuration import tables_of
from comfygen.datasette.settings import Settings
from tests.integration.history_site import BUCKET, Site, make_queue, png, sidecar


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_command_before_the_first_run(site: Site) -> None:
    """There need be nothing yet: an empty index is made, queue.db is left out, the address is the configured one."""
    argv = history_command(site.config)
    state = site.config.state_dir
    assert argv[:6] == [sys.executable, "-P", "-m", "datasette", "serve", str(state / "index.db")]
    assert argv[-4:] == ["--host", "127.0.0.1", "--port", "0"]
    assert (str(state / "queue.db") in argv, "generations" in tables_of(state / "index.db")) == (False, True)


def test_command_with_a_queue_and_an_address(site: Site) -> None:
    """queue.db is served once it is there, with the questions that its tables can answer."""
    make_queue(site.config.queue_db)
    argv = history_command(site.config, host="0.0.0.0", port=9000, open_browser=True)
    plain = json.loads((site.config.state_dir / "history" / "metadata.json").read_text())
    assert argv[-5:] == ["--host", "0.0.0.0", "--port", "9000", "--open"]
    assert str(site.config.queue_db) in argv
    assert list(plain["databases"]["queue"]["queries"]) == ["failed_requests", "failed_jobs"]


def test_existing_index_is_left_alone(site: Site) -> None:
    """The service may have it open: the command does not write into an index that is there."""
    site.config.state_dir.mkdir()
    site.config.index_db.write_bytes(b"")
    history_command(site.config)
    assert site.config.index_db.read_bytes() == b""


@pytest.mark.parametrize("content", [None, b"no database", b""])
def test_tables_of_what_is_no_database(tmp_path: Path, content: bytes | None) -> None:
    """What cannot be looked into has no tables."""
    if content is not None:
        (tmp_path / "queue.db").write_bytes(content)
    assert tables_of(tmp_path / "queue.db") == []


@pytest.mark.parametrize("store", ["store:\n  folder: ./outputs\n", BUCKET.format(policy="presigned")])
def test_settings_come_back(tmp_path: Path, store: str) -> None:
    """What the plugin reads is what was configured, secrets included, and nobody else may read it."""
    site = Site(tmp_path, store)
    expected, path = Settings.of(site.config), tmp_path / "settings.json"
    path.touch(0o644)
    expected.write(path)
    assert (Settings.read(path), path.stat().st_mode & 0o777) == (expected, 0o600)


def test_command_with_a_broken_configuration(tmp_path: Path) -> None:
    """A mistake in the configuration is told before anything starts."""
    (tmp_path / "bad.yaml").write_text("histroy: 127.0.0.1:8001\n")
    result = CliRunner().invoke(cli, ["history", "--config", str(tmp_path / "bad.yaml")])
    assert "histroy" in str(result.exception)


@pytest.fixture
def server(site: Site) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`comfygen history` on a free port, and its address."""
    site.add({"a.png": (png(), sidecar(1))})
    argv = [sys.executable, "-c", "from comfygen.cli import main; main()", "history", "--config", str(site.file)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            told: list[str] = []
            for line in process.stderr:
                told.append(line)
                if "running on" in line:
                    break
            assert "running on" in told[-1], "".join(told)
            yield told[-1].split("running on ")[1].split()[0], process
        finally:
            process.kill()


def test_history_runs(server: tuple[str, subprocess.Popen[str]]) -> None:
    """The installed command serves the index on its port, finds its plugin by itself, and ends when told to."""
    address, process = server
    with urllib.request.urlopen(f"{address}/index/generations.json?_shape=array", timeout=60) as answer:
        keys = [row["key"] for row in json.load(answer)]
    with urllib.request.urlopen(f"{address}/-/thumbnail/a.png", timeout=60) as answer:
        kind = answer.headers["content-type"]
    process.send_signal(signal.SIGTERM)
    assert (keys, kind) == (["a.png"], "image/webp")
    assert process.wait(60) in {0, -signal.SIGTERM}


def test_configuration_of_the_defaults() -> None:
    """History listens where the configuration says, on this machine only by default."""
    assert load_config(None, {}).history == "127.0.0.1:8001"


def test_plugin_is_light() -> None:
    """Every Datasette on this machine loads the plugin: it brings no storage client and no media library along."""
    heavy = ("aiobotocore", "aiohttp", "PIL", "av", "datasette.app")
    code = f"import sys, comfygen.datasette; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
