"""The configuration: where its values come from, and how it says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfygen.config import Config, load_config, split_address
from comfygen.errors import ConfigInvalid

SAMPLE = """\
state_dir: ./state
inbox:
  - folder: ./requests
store:
  folder: ./outputs
comfyui:
  - url: http://127.0.0.1:8188
workflows: ./workflows
presets: ./presets.yaml
http: 127.0.0.1:8189
history: 127.0.0.1:8001
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "comfygen.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str, **environ: str) -> Config:
    return load_config(write(folder, text), environ)


def test_the_sample_loads_and_paths_count_from_its_folder(tmp_path: Path) -> None:
    """Wherever the service is started, the same file means the same places."""
    config = loaded(tmp_path, SAMPLE)
    assert config.state_dir == tmp_path / "state"
    assert config.inbox[0].folder == tmp_path / "requests"
    assert config.store.folder == tmp_path / "outputs"
    assert (config.queue_db, config.index_db) == (tmp_path / "state/queue.db", tmp_path / "state/index.db")


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    """Everything has a default, the built-in workflows and presets among them."""
    config = loaded(tmp_path, "# nothing\n")
    assert config.store.folder == tmp_path / "outputs"
    assert (config.workflows, config.presets) == (None, None)


def test_without_a_file_places_count_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`comfygend` alone works in the folder it is started in."""
    monkeypatch.chdir(tmp_path)
    assert load_config(None, {}).state_dir == tmp_path / "state"


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    """COMFYGEN_CONFIG stands in for --config."""
    path = write(tmp_path, "http: 127.0.0.1:9999\n")
    assert load_config(None, {"COMFYGEN_CONFIG": str(path)}).http == "127.0.0.1:9999"


def test_environment_beats_file_and_flags_beat_both(tmp_path: Path) -> None:
    """The later source wins, key by key."""
    path = write(tmp_path, SAMPLE)
    environ = {"COMFYGEN_HTTP": "127.0.0.1:1", "COMFYGEN_COMFYUI__1__URL": "http://gpu2:8188/"}
    config = load_config(path, environ, {"http": "127.0.0.1:2"})
    assert config.http == "127.0.0.1:2"
    assert [backend.url for backend in config.comfyui] == ["http://127.0.0.1:8188", "http://gpu2:8188"]


def test_credentials_are_read_and_never_shown(tmp_path: Path) -> None:
    """A systemd credential is a file; its value is in no repr."""
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/comfygen_store__secret_key").write_text("s3cr3t\n", encoding="utf-8")
    text = "store:\n  endpoint: http://s3:9000\n  bucket: comfy-gen\n  access_key: me\n"
    config = loaded(tmp_path, text, CREDENTIALS_DIRECTORY=str(tmp_path / "credentials"))
    assert config.store.secret_key is not None
    assert config.store.secret_key.get_secret_value() == "s3cr3t"
    assert "s3cr3t" not in repr(config)


def test_every_mistake_is_told_at_once_with_line_and_remedy(tmp_path: Path) -> None:
    """Five mistakes, five problems."""
    text = "state_dirr: x\nhttp: nowhere\ncomfyui:\n  - url: ftp://x\nlimits:\n  attempts: 0\nstore:\n  foldr: x\n"
    with pytest.raises(ConfigInvalid) as caught:
        loaded(tmp_path, text)
    told = {problem.field: problem for problem in caught.value.problems}
    assert told["state_dirr"].hint == "Did you mean 'state_dir'?"
    assert told["store.foldr"].hint == "Did you mean 'folder'?"
    assert [
        told[field].line for field in ("state_dirr", "http", "comfyui.0.url", "limits.attempts", "store.foldr")
    ] == [
        1,
        2,
        4,
        6,
        8,
    ]


def test_a_variable_that_names_no_key_is_a_mistake(tmp_path: Path) -> None:
    """A misspelt variable is not ignored."""
    with pytest.raises(ConfigInvalid, match="Did you mean COMFYGEN_STATE_DIR"):
        loaded(tmp_path, "", COMFYGEN_STATEDIR="/x")


def test_other_variables_of_ours_are_no_keys(tmp_path: Path) -> None:
    """Failpoints and test settings are not configuration."""
    loaded(tmp_path, "", COMFYGEN_FAILPOINT="received", COMFYGEN_TEST_S3="http://x")


@pytest.mark.parametrize(
    "store",
    [
        "{folder: ./a, bucket: comfy-gen, endpoint: http://x, access_key: a, secret_key: b}",
        "{bucket: comfy-gen}",
        "{endpoint: http://x}",
        "{bucket: NoGoodName, endpoint: http://x, access_key: a, secret_key: b}",
    ],
)
def test_a_store_is_one_thing_and_whole(tmp_path: Path, store: str) -> None:
    """Either a folder, or a bucket with all that it needs."""
    with pytest.raises(ConfigInvalid):
        loaded(tmp_path, f"store: {store}\n")


@pytest.mark.parametrize("text", ["- a\n", "a: b: c\n", "state_dir: x\nstate_dir: y\n", "just text\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """Broken YAML, lists and duplicate keys are told as what they are."""
    with pytest.raises(ConfigInvalid):
        loaded(tmp_path, text)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(ConfigInvalid, match=r"absent\.yaml"):
        load_config(tmp_path / "absent.yaml", {})


def test_addresses_split() -> None:
    """HOST:PORT, with brackets for IPv6."""
    assert (split_address("127.0.0.1:80"), split_address("[::1]:80")) == (("127.0.0.1", 80), ("::1", 80))
