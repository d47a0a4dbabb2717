"""Edits by role: what they write, what they leave alone, and what they refuse."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfygen.errors import Problem, WorkflowInvalid
from comfygen.graph import Graph
from comfygen.workflows import model_slots, models_of, trace_roles, vae_of, with_filename_prefix, with_value
from tests.unit.sample_graphs import node, own, recorded, text_to_image

NAMES = st.sampled_from(["flux-dev", "sd15-img2img", "wan22-t2v", "wan22-i2v"])


def edited(graph: Graph, key: str, value: object) -> Graph:
    """A graph with one key set."""
    return with_value(graph, trace_roles(graph), key, value)


def refusal(graph: Graph, key: str, value: object) -> Problem:
    """The complaint about a key that cannot be set."""
    with pytest.raises(WorkflowInvalid) as caught:
        edited(graph, key, value)
    [problem] = caught.value.problems
    assert key == problem.field
    return problem


def windows(graph: Graph) -> list[Any]:
    """Steps, start and end of every stage."""
    names = ("steps", "start_at_step", "end_at_step")
    return [[graph[stage]["inputs"][name] for name in names] for stage in trace_roles(graph).samplers]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(name=NAMES, data=st.data())
def test_an_edit_is_read_back_and_touches_nothing_else(name: str, data: st.DataObject) -> None:
    """Whatever key a workflow takes: set, it is read back, and only its places have changed."""
    graph = own(name).graph
    before, roles = copy.deepcopy(graph), trace_roles(graph)
    key = data.draw(st.sampled_from(roles.takes))
    changed = with_value(graph, roles, key, 64)
    meant = {place.node for place in roles.at(key)} | {window.place.node for window in roles.windows}
    assert before == graph
    assert roles.read(changed, key) == 64
    assert all(changed[other] == graph[other] for other in graph if other not in meant)


def test_more_steps_move_the_border_of_the_stages() -> None:
    """Four steps in halves become eight in halves; what lies beyond the end stays."""
    assert windows(own("wan22-t2v").graph) == [[4, 0, 2], [4, 2, 10000]]
    assert windows(edited(own("wan22-t2v").graph, "steps", 8)) == [[8, 0, 4], [8, 4, 10000]]


def test_a_border_between_two_steps_is_rounded_up() -> None:
    """Half of five steps is three for the first stage."""
    assert windows(edited(own("wan22-t2v").graph, "steps", 5)) == [[5, 0, 3], [5, 3, 10000]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(steps=st.integers(2, 200))
def test_every_stage_keeps_a_step(steps: int) -> None:
    """Whatever number is asked for, the stages follow on each other and none is empty."""
    [[first, start, border], [second, again, end]] = windows(edited(own("wan22-t2v").graph, "steps", steps))
    assert (steps, steps, 0, 10000) == (first, second, start, end)
    assert 0 < border == again < steps


def test_three_stages_move_together() -> None:
    """Stages of one total share their borders, also where one of them alone has two."""
    graph = own("wan22-t2v").graph
    graph["32"]["inputs"] |= {"end_at_step": 3, "steps": 4}
    third = graph["32"]["inputs"] | {"start_at_step": 3, "end_at_step": 10000, "latent_image": ["32", 0]}
    graph |= {"40": node("KSamplerAdvanced", **third), "33": node("VAEDecode", samples=["40", 0], vae=["4", 0])}
    assert windows(edited(graph, "steps", 3)) == [[3, 0, 1], [3, 1, 2], [3, 2, 10000]]
    assert windows(edited(graph, "steps", 40)) == [[40, 0, 20], [40, 20, 30], [40, 30, 10000]]


def test_short_stages_do_not_run_into_each_other() -> None:
    """Two borders that would fall on the same step are kept apart."""
    graph = own("wan22-t2v").graph
    graph["31"]["inputs"] |= {"steps": 40, "start_at_step": 1, "end_at_step": 2}
    graph["32"]["inputs"] |= {"steps": 40, "start_at_step": 2}
    assert windows(edited(graph, "steps", 10)) == [[10, 1, 2], [10, 2, 10000]]


def test_fewer_steps_than_stages_are_refused() -> None:
    """One step cannot be divided between two stages."""
    problem = refusal(own("wan22-t2v").graph, "steps", 1)
    assert (
        problem.message,
        problem.allowed,
    ) == ("1 is too few: the workflow divides the steps among 2 stages.", "at least 2")


def test_split_sigmas_move_as_well() -> None:
    """Where sigmas are split between two samplers, the split moves with the steps."""
    parts: dict[str, Any] = {"noise": ["20", 0], "guider": ["21", 0], "sampler": ["22", 0]}
    graph = text_to_image() | {
        "20": node("RandomNoise", noise_seed=1),
        "21": node("CFGGuider", model=["1", 0], positive=["2", 0], negative=["3", 0], cfg=4.0),
        "22": node("KSamplerSelect", sampler_name="euler"),
        "23": node("BasicScheduler", model=["1", 0], scheduler="simple", steps=10, denoise=1.0),
        "24": node("SplitSigmas", sigmas=["23", 0], step=5),
        "25": node("SamplerCustomAdvanced", sigmas=["24", 0], latent_image=["4", 0], **parts),
        "5": node("SamplerCustomAdvanced", sigmas=["24", 1], latent_image=["25", 0], **parts),
    }
    changed = edited(graph, "steps", 30)
    assert (changed["23"]["inputs"]["steps"], changed["24"]["inputs"]["step"]) == (30, 15)


def test_a_border_that_is_computed_blocks_the_steps() -> None:
    """More steps with a border that cannot follow would change which model does what."""
    graph = own("wan22-t2v").graph
    graph["31"]["inputs"]["end_at_step"] = ["50", 0]
    graph["50"] = node("MathExpression", expression="a / 2", a=4)
    assert '"end_at_step" of node 31 (KSamplerAdvanced) is computed by node 50' in refusal(graph, "steps", 8).message


def test_all_stages_are_set() -> None:
    """cfg, sampler and scheduler are written to both stages of a video."""
    graph = own("wan22-i2v").graph
    for key, name, value in (("cfg", "cfg", 3.5), ("sampler", "sampler_name", "heun"), ("scheduler",) * 2 + ("beta",)):
        changed = edited(graph, key, value)
        assert [value, value] == [changed[stage]["inputs"][name] for stage in ("31", "32")]


def test_the_second_seed_is_left_alone() -> None:
    """Only the stage that makes the noise is seeded."""
    changed = edited(own("wan22-t2v").graph, "seed", 2**64 - 1)
    assert [changed[stage]["inputs"]["noise_seed"] for stage in ("31", "32")] == [2**64 - 1, 0]


def test_a_key_without_a_place_is_refused() -> None:
    """The complaint names the keys that this workflow takes."""
    problem = refusal(own("flux-dev").graph, "frames", 81)
    assert problem.message == "has no place in this workflow."
    takes = "prompt, negative_prompt, seed, steps, cfg, sampler, scheduler, denoise, width, height"
    assert takes == problem.allowed


def test_a_two_stage_graph_has_no_denoise() -> None:
    """KSamplerAdvanced has no such input."""
    assert refusal(own("wan22-t2v").graph, "denoise", 0.5).message == "has no place in this workflow."


@pytest.mark.parametrize("key", ["width", "height"])
def test_the_size_of_an_image_is_set_by_resizing_it(key: str) -> None:
    """Image to image graphs are told the request key that does it."""
    assert 'use "resize: WIDTHxHEIGHT"' in str(refusal(own("sd15-img2img").graph, key, 512).hint)


def test_a_blocked_key_says_why() -> None:
    """A negative prompt that would overwrite the prompt is refused with the reason."""
    graph = text_to_image(negative=["2", 0])
    expected = "has no place in this workflow: node 2 holds the prompt and the negative prompt."
    assert expected == refusal(graph, "negative_prompt", "blur").message


def test_the_prefix_goes_to_every_saver() -> None:
    """Each node that names its files gets the prefix; one whose prefix is computed does not."""
    graph = text_to_image() | {
        "8": node("SaveWEBM", images=["6", 0], filename_prefix="y", fps=8.0),
        "9": node("SaveImage", images=["6", 0], filename_prefix=["10", 0]),
        "10": node("PrimitiveString", value="z"),
    }
    changed = with_filename_prefix(graph, "comfygen/job")
    names = [changed[key]["inputs"]["filename_prefix"] for key in ("7", "8", "9")]
    assert names == ["comfygen/job", "comfygen/job", ["10", 0]]
    assert graph["7"]["inputs"]["filename_prefix"] == "x"


def test_every_model_slot_is_seen() -> None:
    """Checkpoints, UNETs, encoders, VAEs, LoRAs, ControlNets, upscalers and vision models alike (D4)."""
    loaders = {
        "1": node("CheckpointLoaderSimple", ckpt_name="a"),
        "2": node("UNETLoader", unet_name="b", weight_dtype="default"),
        "3": node("DualCLIPLoader", clip_name1="c", clip_name2="d", type="flux"),
        "4": node("VAELoader", vae_name="e"),
        "5": node("LoraLoaderModelOnly", lora_name="f", strength_model=1.0, model=["1", 0]),
        "6": node("UpscaleModelLoader", model_name="g"),
        "7": node("ControlNetLoader", control_net_name="h"),
        "8": node("CLIPVisionLoader", clip_name="i"),
        "9": node("StyleModelLoader", style_model_name="j"),
        "10": node("UnetLoaderGGUF", unet_name="k"),
        "11": node("LTXAVTextEncoderLoader", text_encoder="l", ckpt_name="m"),
        "12": node("CLIPTextEncode", text="no file", clip=["3", 0]),
        "13": node("LoadImage", image="no model.png"),
    }
    assert "".join(slot.file for slot in model_slots(loaders)) == "abcdefghijklm"
    assert models_of(loaders)[:4] == ("a", "b", "k", "m")
    assert set("abcdghijklm") == set(models_of(loaders))


def test_the_models_of_a_video() -> None:
    """Both experts come first, then the encoder; VAE and LoRAs are told elsewhere."""
    expected = (
        "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors",
        "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors",
        "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    )
    assert expected == models_of(own("wan22-t2v").graph)
    assert vae_of(own("wan22-t2v").graph) == "wan_2.1_vae.safetensors"


def test_the_vae_of_a_checkpoint_is_no_file() -> None:
    """The VAE is told if it is a file of its own, and it is the one that decodes."""
    assert None is vae_of(recorded("flux-dev"))
    graph = recorded("sd15-img2img") | {"9": node("VAELoader", vae_name="other")}
    graph["8"]["inputs"]["vae"] = ["9", 0]
    assert None is vae_of(graph)
    graph["6"]["inputs"]["vae"] = ["9", 0]
    assert vae_of(graph) == "other"
    graph["6"] = node("Finish", latent=["5", 0], vae=["9", 0])
    graph["8"]["inputs"]["vae"] = ["1", 2]
    assert vae_of(graph) == "other"
