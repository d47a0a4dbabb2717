"""Values of the configuration that people write in more than one way."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfygen.config import Config, load_config
from comfygen.errors import ConfigInvalid


def loaded(folder: Path, text: str, **environ: str) -> Config:
    path = folder / "comfygen.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ)


def test_every_path_counts_from_the_folder_of_the_file(tmp_path: Path) -> None:
    """Also those of a list, and of a list in the environment."""
    config = loaded(tmp_path, "inputs: [./pictures, /srv/pictures]\n", COMFYGEN_INPUTS__1="/srv/others")
    assert config.inputs == (tmp_path / "pictures", Path("/srv/others"))


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants a folder called ~."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = loaded(tmp_path, "state_dir: ~/state\nstore: {folder: ~/outputs}\ninputs: [~nobody/x]\n")
    assert (config.state_dir, config.store.folder) == (tmp_path / "home/state", tmp_path / "home/outputs")
    assert config.inputs == (tmp_path / "~nobody/x",)


@pytest.mark.parametrize("value", ["8189", "localhost", "':8189'", "'127.0.0.1:'", "127.0.0.1:99999", "[]"])
def test_an_address_without_its_parts_is_told_how_to_write_it(tmp_path: Path, value: str) -> None:
    """A port alone is a number to YAML."""
    with pytest.raises(ConfigInvalid, match="HOST:PORT, such as"):
        loaded(tmp_path, f"http: {value}\n")


@pytest.mark.parametrize("value", ["127.0.0.1:8188", "8188", "ftp://x", "'//[x'", "'http://'"])
def test_a_url_without_its_parts_is_told_how_to_write_it(tmp_path: Path, value: str) -> None:
    """The scheme is often left out."""
    with pytest.raises(ConfigInvalid, match="comfyui"):
        loaded(tmp_path, f"comfyui: [{{url: {value}}}]\n")


@pytest.mark.parametrize("value", ["7", "[1]", "{a: b}", "true"])
def test_a_path_that_is_no_text_is_refused_and_not_guessed(tmp_path: Path, value: str) -> None:
    """With its key."""
    with pytest.raises(ConfigInvalid, match="state_dir"):
        loaded(tmp_path, f"state_dir: {value}\n")
