"""LoRA injection on graphs with several models: two experts, merges, stages, and which branch is meant."""

from __future__ import annotations

import pytest

from comfygen.errors import WorkflowInvalid
from comfygen.graph import Link, source_of
from comfygen.lora import Branch, Lora, branches, inject, loras_of
from tests.unit.sample_graphs import bare, misfits, node, own, recorded, text_to_image

STYLE = Lora(name="style_a.safetensors", strength=0.7)
PAPER = Lora(name="style_b.safetensors", strength=0.6)
MOTION = Lora(name="motion_wan.safetensors")


def test_both_experts_get_the_lora_behind_their_own() -> None:
    """On Wan 2.2 an extra LoRA stands in both branches behind the acceleration LoRA, as in the recorded graph."""
    titled = {
        "100": "11",
        "101": "21",
    }
    graph = inject(own("wan22-t2v").graph, [MOTION])
    renamed = {titled.get(key, key): body for key, body in bare(graph).items()}
    for body in renamed.values():
        for name, value in body["inputs"].items():
            body["inputs"][name] = [titled.get(value[0], value[0]), value[1]] if isinstance(value, list) else value
    expected = bare(recorded("wan22-t2v.extra-lora"))
    for key in ("5", "30", "31"):  # prompt, size and seed of the recording are its own
        expected[key]["inputs"] |= {k: v for k, v in renamed[key]["inputs"].items() if not isinstance(v, list)}
    assert expected == renamed


def test_two_loras_are_right_in_both_branches() -> None:
    """Each branch ends in its own chain of three, and the text encoder stays as it was."""
    graph = inject(own("wan22-t2v").graph, [MOTION, PAPER])
    ends = [source_of(graph, shift, "model") for shift in ("19", "29")]
    assert [Link("101", 0), Link("103", 0)] == ends
    assert [graph[key]["inputs"]["model"] for key in ("100", "101", "102", "103")] == [
        ["10", 0],
        ["100", 0],
        ["20", 0],
        ["102", 0],
    ]
    assert {"LoraLoaderModelOnly"} == {graph[key]["class_type"] for key in ("100", "101", "102", "103")}
    assert graph["5"]["inputs"]["clip"] == ["3", 0]
    assert list(misfits(graph)) == []


def test_loras_are_told_by_branch_and_in_chain_order() -> None:
    """What a graph has is told in the order in which it is applied, with the branch where there are two."""
    told = loras_of(inject(own("wan22-t2v").graph, [MOTION, PAPER]))
    lightx = "wan2.2_t2v_lightx2v_4steps_lora_v1.1_{}_noise.safetensors"
    expected = [
        (name, branch)
        for branch in ("high", "low")
        for name in (lightx.format(branch), "motion_wan.safetensors", "style_b.safetensors")
    ]
    assert expected == [(lora.name, lora.branch) for lora in told]


def test_a_branch_can_be_chosen_by_name() -> None:
    """A LoRA for one expert leaves the other as it is."""
    wan = own("wan22-i2v").graph
    graph = inject(wan, [Lora(name="still.safetensors", branch="low")])
    assert [Link("10", 0), Link("100", 0)] == [source_of(graph, shift, "model") for shift in ("19", "29")]


def test_a_branch_can_be_chosen_by_its_loader() -> None:
    """The node id of a loader names its branch as well."""
    wan = own("wan22-t2v").graph
    assert inject(wan, [Lora(name="x", branch="low")]) == inject(wan, [Lora(name="x", branch="2")])


def test_an_unknown_branch_is_refused_with_a_suggestion() -> None:
    """A branch that the graph does not have is an error that names those it has."""
    with pytest.raises(WorkflowInvalid) as caught:
        inject(own("wan22-t2v").graph, [Lora(name="x", branch="hihg"), Lora(name="y", branch="zzz")])
    first, second = caught.value.problems
    assert (first.allowed, first.hint) == ("high, low", 'Did you mean "high"?')
    assert second.message == 'y: this graph has no branch "zzz".'


def test_a_clip_strength_without_a_clip_is_refused() -> None:
    """Two experts share one text encoder, so that a strength for it has no place."""
    with pytest.raises(WorkflowInvalid, match="strength_clip has no place"):
        inject(own("wan22-t2v").graph, [Lora(name="x", strength_clip=0.5)])


def test_merged_models_are_both_reached() -> None:
    """A LoRA goes onto both sides of a merge, and once behind a LoRA that stands after it."""
    merged = text_to_image(model=["9", 0]) | {
        "8": node("UNETLoader", unet_name="other", weight_dtype="default"),
        "9": node("ModelMergeSimple", model1=["1", 0], model2=["8", 0], ratio=0.5),
    }
    changed = inject(merged, [STYLE])
    assert [changed["9"]["inputs"][name] for name in ("model1", "model2")] == [["100", 0], ["101", 0]]
    merged["10"] = node("LoraLoaderModelOnly", model=["9", 0], lora_name="old", strength_model=1.0)
    merged["5"]["inputs"]["model"] = ["10", 0]
    behind = inject(merged, [STYLE])
    assert [behind["9"]["inputs"][name] for name in ("model1", "model2")] == [["1", 0], ["8", 0]]
    assert [STYLE.name] == [lora.name for lora in loras_of(behind) if lora.name != "old"]


def test_a_lora_of_one_side_is_not_lost_behind_a_merge() -> None:
    """Where two branches lead to one chain, the LoRAs that each of them was given stand there together."""
    graph = text_to_image(model=["10", 0]) | {
        "8": node("UNETLoader", unet_name="other", weight_dtype="default"),
        "9": node("ModelMergeSimple", model1=["1", 0], model2=["8", 0], ratio=0.5),
        "10": node("LoraLoaderModelOnly", model=["9", 0], lora_name="old", strength_model=1.0),
    }
    changed = inject(graph, [Lora(name="a", branch="1"), Lora(name="b", branch="8")])
    assert [lora.name for lora in loras_of(changed)] == ["old", "a", "b"]
    assert changed["5"]["inputs"]["model"] == ["101", 0]


def test_an_encoder_belongs_to_the_one_model_without() -> None:
    """Beside a checkpoint with a CLIP of its own, a loaded encoder is that of the other model."""
    graph = text_to_image() | {
        "8": node("UNETLoader", unet_name="other", weight_dtype="default"),
        "9": node("CLIPLoader", clip_name="t5", type="wan"),
        "10": node("CLIPTextEncode", text="x", clip=["9", 0]),
        "11": node("KSampler", **text_to_image()["5"]["inputs"] | {"model": ["8", 0], "positive": ["10", 0]}),
    }
    assert [(Link("1", 1),), (Link("9", 0),)] == [branch.clips for branch in branches(graph)]


def test_two_stages_are_high_and_low() -> None:
    """Without a word in the file names, the order of two samplers names the branches."""
    second = text_to_image()["5"]["inputs"] | {"model": ["8", 0], "latent_image": ["5", 0]}
    graph = text_to_image() | {
        "8": node("UNETLoader", unet_name="refiner", weight_dtype="default"),
        "9": node("KSampler", **second),
    }
    graph["6"]["inputs"]["samples"] = ["9", 0]
    expected = (
        Branch(name="high", model=Link("1", 0), clips=(Link("1", 1),)),
        Branch(name="low", model=Link("8", 0)),
    )
    assert expected == branches(graph)


def test_unnamed_branches_go_by_their_loader() -> None:
    """Two models side by side are called by the node ids of their loaders."""
    graph = text_to_image() | {
        "8": node("CheckpointLoaderSimple", ckpt_name="other.safetensors"),
        "9": node("KSampler", **text_to_image()["5"]["inputs"] | {"model": ["8", 0]}),
    }
    assert [branch.name for branch in branches(graph)] == ["1", "8"]
    assert {"1", "8"} == {lora.branch for lora in loras_of(inject(graph, [STYLE]))}


def test_a_name_that_two_loaders_share_names_neither() -> None:
    """Two files that both say "high noise" are told apart by their loaders."""
    graph = own("wan22-t2v").graph
    graph["2"]["inputs"]["unet_name"] = "other_HighNoise.safetensors"
    assert [branch.name for branch in branches(graph)] == ["1", "2"]
