"""The library: workflows and presets by name, from wherever they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from comfygen.errors import ConfigInvalid, NotFound, PresetsInvalid, WorkflowInvalid
from comfygen.resources import Library, built_in, place

PRESETS = "presets:\n  quick: {steps: 4}\n"


def copied(folder: Path) -> Library:
    """A library of one's own: one workflow, one preset."""
    (folder / "workflows").mkdir()
    (folder / "workflows" / "mine.json").write_bytes((built_in("workflows") / "flux-dev.json").read_bytes())
    (folder / "presets.yaml").write_text(PRESETS, encoding="utf-8")
    return Library(folder / "workflows", folder / "presets.yaml")


def change(path: Path, text: str) -> None:
    """Rewrite a file so that it counts as changed, however coarse the clock of the file system is."""
    before = path.stat().st_mtime_ns
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 10**9,) * 2)


def test_what_comes_with_comfygen_is_found_and_well() -> None:
    """Four workflows and the presets."""
    library = Library()
    assert library.names() == ["flux-dev.json", "sd15-img2img.json", "wan22-i2v.json", "wan22-t2v.json"]
    assert library.check() == []


@pytest.mark.parametrize("name", ["mine", "mine.json"])
def test_a_workflow_has_its_name_with_or_without_suffix(tmp_path: Path, name: str) -> None:
    """As people write it."""
    assert copied(tmp_path).workflow(name).name == "mine.json"


@pytest.mark.parametrize(
    "name", ["../mine", "/etc/passwd", "mine.json/", "", ".", "..", "workflows/mine.json", "MINE", "mine\0", "*"]
)
def test_a_workflow_is_one_of_the_folder_and_nothing_else(tmp_path: Path, name: str) -> None:
    """Names are compared, not joined to a path."""
    with pytest.raises(NotFound):
        copied(tmp_path).workflow(name)


def test_a_name_nearly_right_is_suggested_else_all_are_named(tmp_path: Path) -> None:
    """The error says what to write."""
    library = copied(tmp_path)
    for name, hint in (("mime", "Did you mean 'mine'?"), ("zzz", "There are: mine.json.")):
        with pytest.raises(NotFound) as caught:
            library.workflow(name)
        assert caught.value.hint == hint


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    """Presets and workflows may be edited while the service runs."""
    library = copied(tmp_path)
    first = library.workflow("mine")
    assert library.workflow("mine") is first
    assert library.presets() is library.presets()
    graph = json.loads((tmp_path / "workflows" / "mine.json").read_bytes())
    graph["_workflow_metadata"] = {"description": "another"}
    change(tmp_path / "workflows" / "mine.json", json.dumps(graph))
    change(tmp_path / "presets.yaml", PRESETS.replace("4", "5"))
    assert library.workflow("mine").metadata == {"description": "another"}
    assert library.presets().preset("quick").steps == 5


def test_a_new_workflow_is_there_at_once(tmp_path: Path) -> None:
    """Nobody has to restart anything."""
    library = copied(tmp_path)
    (tmp_path / "workflows" / "new.json").write_bytes((tmp_path / "workflows" / "mine.json").read_bytes())
    assert library.workflow("new").name == "new.json"


def test_one_broken_file_harms_only_who_names_it(tmp_path: Path) -> None:
    """The others go on; `check` tells of all that are broken."""
    library = copied(tmp_path)
    (tmp_path / "workflows" / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "presets.yaml").write_text("presets: 7\n", encoding="utf-8")
    with pytest.raises(WorkflowInvalid):
        library.workflow("broken")
    with pytest.raises(PresetsInvalid):
        library.presets()
    assert library.workflow("mine").name == "mine.json"
    assert [type(error) for error in library.check()] == [PresetsInvalid, WorkflowInvalid]


def test_files_that_are_gone_are_errors_of_ours(tmp_path: Path) -> None:
    """Never an exception of the file system: a request is refused, the service goes on."""
    library = copied(tmp_path)
    (tmp_path / "presets.yaml").unlink()
    (tmp_path / "workflows" / "link.json").symlink_to(tmp_path / "nowhere")
    for read in (library.presets, lambda: library.workflow("link")):
        with pytest.raises(ConfigInvalid, match="cannot be read: No such file"):
            read()


def test_a_folder_that_is_gone_has_no_workflows(tmp_path: Path) -> None:
    """Unmounted, perhaps."""
    library = copied(tmp_path)
    (tmp_path / "workflows" / "mine.json").unlink()
    (tmp_path / "workflows").rmdir()
    with pytest.raises(NotFound, match="no workflow 'mine'"):
        library.workflow("mine")


def test_a_link_in_the_folder_is_the_operators_own(tmp_path: Path) -> None:
    """Whoever may write there may name any graph; a link to what is none is an error that shows nothing of it."""
    library = copied(tmp_path)
    (tmp_path / "elsewhere.json").write_bytes((tmp_path / "workflows" / "mine.json").read_bytes())
    (tmp_path / "secret").write_text("root:x:0:0:root", encoding="utf-8")
    (tmp_path / "workflows" / "linked.json").symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "workflows" / "odd.json").symlink_to(tmp_path / "secret")
    assert library.workflow("linked").graph == library.workflow("mine").graph
    with pytest.raises(WorkflowInvalid) as caught:
        library.workflow("odd")
    assert "root:" not in str(caught.value.to_json())


def test_hidden_files_are_no_workflows(tmp_path: Path) -> None:
    """Editors and synchronisers leave such behind."""
    library = copied(tmp_path)
    (tmp_path / "workflows" / ".mine.json").write_text("{", encoding="utf-8")
    assert library.names() == ["mine.json"]


def test_a_configured_place_must_exist_unless_it_is_called_like_the_built_in_one(tmp_path: Path) -> None:
    """The sample configuration says ./workflows, and there need be no such folder."""
    assert place(None, "workflows") == built_in("workflows")
    assert place(tmp_path / "workflows", "workflows") == built_in("workflows")
    assert place(tmp_path, "workflows") == tmp_path
    with pytest.raises(ConfigInvalid, match="graphs does not exist"):
        place(tmp_path / "graphs", "workflows")
