"""What the simulator keeps: folders, catalogue, queue, faults, journal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfygen.simulator.catalogue import Catalogue
from comfygen.simulator.faults import KINDS, Fault, Faults, Moment
from comfygen.simulator.folders import Folders, OutsideFolder, media_type, split_mark
from comfygen.simulator.journal import sha256_of, text_of
from comfygen.simulator.queue import Item, PromptQueue


@pytest.fixture
def folders() -> Iterator[Folders]:
    made = Folders()
    yield made
    made.remove()


def item(number: float, prompt_id: str = "a") -> Item:
    return Item(number, prompt_id, {}, {"create_time": 0}, [])


def queue(*numbers: float) -> PromptQueue:
    made = PromptQueue(lambda: None)
    for place, number in enumerate(numbers):
        made.put(item(number, f"id-{place}"))
    return made


@given(st.lists(st.integers(-50, 50), unique=True, min_size=1))
def test_lowest_number_runs_first(numbers: list[int]) -> None:
    """Whatever the order of arrival, the numbers leave sorted."""
    waiting = queue(*numbers)
    assert [waiting.take().number for _ in numbers] == sorted(numbers)


def test_twins_cannot_be_compared() -> None:
    """Equal number and id compare the graphs, which raises; the second one is queued all the same."""
    waiting = queue(1)
    with pytest.raises(TypeError):
        waiting.put(item(1, "id-0")._replace(graph={"1": {}}))
    assert len(waiting.pending) == 2


def test_deleting_tells_whether_there_was_anything() -> None:
    """A waiting prompt is taken out once; the others keep their order."""
    waiting = queue(3, 1, 2)
    assert (waiting.delete("id-1"), waiting.delete("id-1"), waiting.delete("nope")) == (True, False, False)
    assert [waiting.take().number for _ in range(2)] == [2, 3]


@pytest.mark.parametrize(
    ("most", "offset", "found"),
    [
        (None, -1, "abc"),
        (2, -1, "bc"),
        (9, -1, "abc"),
        (0, -1, ""),
        (-1, -1, ""),
        (1, 0, "a"),
        (5, 1, "bc"),
        (None, 2, "c"),
    ],
)
def test_history_gives_the_newest_or_from_an_offset(most: int | None, offset: int, found: str) -> None:
    """`max_items` alone counts from the end, with an offset from the beginning."""
    filled = queue()
    for name in "abc":
        filled.running.append(item(0, name))
        filled.finish(filled.running[-1], {})
    assert "".join(filled.recent(most, offset)) == found


def test_history_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never grows beyond its limit."""
    monkeypatch.setattr("comfygen.simulator.queue.MAX_HISTORY", 3)
    filled = queue()
    for name in "abcdef":
        filled.running.append(item(0, name))
        filled.finish(filled.running[-1], {})
    assert "".join(filled.history) == "cdef"


def test_file_numbers_go_on_from_the_highest(folders: Folders) -> None:
    """Whatever the suffix, the next number is free; another name starts at 1."""
    place = folders.place("cg/vid", 64, 64)
    (place.folder / place.file(0, ".webp")).write_bytes(b"")
    (place.folder / "vid_00007_.png").write_bytes(b"")
    assert folders.place("cg/vid", 64, 64).file(0, ".mp4") == "vid_00008_.mp4"
    assert folders.place("cg/other", 64, 64).file(1, ".png") == "other_00002_.png"


@pytest.mark.parametrize(
    ("prefix", "subfolder", "name"),
    [("plain", "", "plain"), ("a/b/c", "a/b", "c"), ("", "", "."), ("w%width%h%height%_%x%", "", "w64h48_%x%")],
)
def test_prefix_makes_folder_and_name(prefix: str, subfolder: str, name: str, folders: Folders) -> None:
    """Folders, an empty prefix, known variables and unknown ones, as recorded."""
    place = folders.place(prefix, 64, 48)
    assert (place.subfolder, place.name) == (subfolder, name)


@pytest.mark.parametrize("prefix", ["../evil", "/etc/evil", "a/../../evil"])
def test_prefix_never_leaves_the_folder(prefix: str, folders: Folders) -> None:
    """ComfyUI's own error is raised."""
    with pytest.raises(OutsideFolder, match="outside the output folder"):
        folders.place(prefix, 64, 64)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(["..", ".", "a", "/", "/etc", "b/../..", "~", " "]), max_size=4))
def test_no_name_leads_out_of_a_folder(parts: list[str], folders: Folders) -> None:
    """Whatever is asked for, the path is inside or None."""
    path = folders.inside("input", *parts)
    base = folders.root / "input"
    assert path is None or path == base or base in path.parents


def test_mark_names_the_folder() -> None:
    """`name [output]` is a name and a folder; other brackets belong to the name."""
    assert split_mark("a b.png [output]") == ("a b.png", "output")
    assert split_mark("a [draft].png") == ("a [draft].png", None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.png", "image/png"), ("a.WEBP", "image/webp"), ("a.mp4", "video/mp4"), ("a", "application/octet-stream")],
)
def test_media_type_follows_the_suffix(name: str, kind: str) -> None:
    """No type of the operating system's table is needed for what savers write."""
    assert media_type(name) == kind


def test_choices_are_read_when_they_are_asked_for(folders: Folders) -> None:
    """A LoRA that is added later is in the description, in both spellings of a list."""
    catalogue = Catalogue(folders, {"loras": ["a"], "upscale_models": ["x4"]})
    catalogue.models["loras"].append("b")
    plain = catalogue.described("LoraLoader")["input"]["required"]["lora_name"][0]
    combo = catalogue.described("UpscaleModelLoader")["input"]["required"]["model_name"]
    assert (plain, combo[0], combo[1]["options"]) == (["a", "b"], "COMBO", ["x4"])


def test_vae_loader_offers_its_own_word_too(folders: Folders) -> None:
    """`pixel_space` is no file and is always there."""
    config = Catalogue(folders, {"vae": ["v"]}).described("VAELoader")["input"]["required"]["vae_name"]
    assert config == [["v", "pixel_space"]]


def test_fault_strikes_as_often_as_told_and_where_it_matches() -> None:
    """Two strikes on graphs with the word, none on others, then it is gone."""
    faults = Faults([{"kind": "oom", "times": 2, "match": "robot"}])
    texts = ["a car", "a robot", "a robot", "a robot"]
    assert [list(faults.take(Moment.RUN, text)) for text in texts] == [[], ["oom"], ["oom"], []]
    assert faults.to_json() == []


def test_fault_waits_for_its_moment() -> None:
    """A fault of the run does not strike a request."""
    faults = Faults([Fault(kind="stall")])
    assert faults.take(Moment.REQUEST, "/queue") == {}
    assert (faults.expects(Moment.RUN), faults.expects(Moment.POST)) == (True, False)


def test_two_faults_of_one_kind_strike_one_after_the_other() -> None:
    """The older one first."""
    faults = Faults([{"kind": "slow", "seconds": 1}, {"kind": "slow", "seconds": 2}])
    assert [faults.take(Moment.RUN, "")["slow"].seconds for _ in range(2)] == [1, 2]


def test_lasting_fault_lasts() -> None:
    """A dead worker stays dead until it is cleared."""
    faults = Faults([{"kind": "dead_worker"}])
    assert [faults.has("dead_worker") for _ in range(3)] == [True] * 3
    faults.clear()
    assert not faults.has("dead_worker")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_it_does(kind: str) -> None:
    """Whoever asks for the faults reads a sentence for each, and can set it."""
    assert len(KINDS[kind][1].split()) > 2
    assert Fault.from_json({"kind": kind}).kind == kind


@given(st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)))
def test_every_graph_has_a_hash_and_a_text(value: object) -> None:
    """NaN and lone surrogates included."""
    graph = {"1": {"class_type": "Any", "inputs": {"value": value}}}
    assert len(sha256_of(graph)) == 64
    assert "class_type" in text_of(graph)
