"""Roles are found by links: which node holds the prompt, the seed or the size, whatever it is called."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfygen.graph import Graph
from comfygen.workflows import trace_roles
from tests.unit.sample_graphs import at, node, node_classes, own, recorded, text_to_image

VIDEO_KEYS = ("prompt", "negative_prompt", "seed", "steps", "cfg", "sampler", "scheduler")


def flux(**changed: Any) -> Graph:
    """Flux with each part of its sampler in a node of its own."""
    return {
        "1": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
        "2": node("DualCLIPLoader", clip_name1="clip_l", clip_name2="t5", type="flux"),
        "3": node("VAELoader", vae_name="ae.safetensors"),
        "4": node("CLIPTextEncodeFlux", clip=["2", 0], clip_l="a lake", t5xxl="a lake", guidance=3.5),
        "5": node("FluxGuidance", conditioning=["4", 0], guidance=3.5),
        "6": node("BasicGuider", model=["13", 0], conditioning=["5", 0]),
        "7": node("RandomNoise", noise_seed=3),
        "8": node("KSamplerSelect", sampler_name="euler"),
        "9": node("BasicScheduler", model=["13", 0], scheduler="simple", steps=25, denoise=1.0),
        "10": node("EmptySD3LatentImage", width=1024, height=768, batch_size=1),
        "11": node(
            "SamplerCustomAdvanced",
            noise=["7", 0],
            guider=["6", 0],
            sampler=["8", 0],
            sigmas=["9", 0],
            latent_image=["10", 0],
        ),
        "12": node("VAEDecode", samples=["11", 0], vae=["3", 0]),
        "13": node("ModelSamplingFlux", model=["1", 0], max_shift=1.15, base_shift=0.5, width=1024, height=768),
        "14": node("SaveImage", filename_prefix="x", images=["12", 0]),
    } | changed


def test_a_plain_sampler_holds_almost_everything() -> None:
    """On the usual graph each key has one place."""
    roles = trace_roles(recorded("flux-dev"))
    keys = ("prompt", "negative_prompt", "seed", "steps", "cfg", "sampler", "scheduler", "denoise", "width", "height")
    expected = [["2.text"], ["3.text"], *[[f"5.{n}"] for n in ("seed", "steps", "cfg", "sampler_name", "scheduler")]]
    assert [*expected, ["5.denoise"], ["4.width"], ["4.height"]] == at(roles, *keys)
    assert keys == roles.takes
    assert (roles.samplers, roles.outputs, roles.blocked) == (("5",), ("7",), {})


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_ids_titles_and_order_tell_nothing(seed: int) -> None:
    """The same graph under other ids, with misleading titles and in another order has the same roles."""
    graph = recorded("wan22-i2v.848x480x81")
    shuffle = random.Random(seed)
    ids = list(graph)
    shuffle.shuffle(ids)
    new = {old: f"n:{place}" for place, old in enumerate(ids)}
    other = {
        new[old]: {
            "class_type": graph[old]["class_type"],
            "_meta": {"title": shuffle.choice(["Negative Prompt", "Positive Prompt"])},
            "inputs": {
                name: [new[value[0]], value[1]] if isinstance(value, list) else value
                for name, value in graph[old]["inputs"].items()
            },
        }
        for old in ids
    }
    expected = {key: [f"{new[p.node]}.{p.input}" for p in places] for key, places in trace_roles(graph).places.items()}
    roles = trace_roles(other)
    assert expected == {key: [f"{p.node}.{p.input}" for p in places] for key, places in roles.places.items()}
    assert (new["31"], new["32"]) == roles.samplers


def test_both_stages_of_a_video() -> None:
    """Settings stand in both stages, the seed only in the one that makes the noise (D10)."""
    roles = trace_roles(own("wan22-t2v").graph)
    expected = [["5.text"], ["6.text"], ["31.noise_seed"]]
    expected += [[f"31.{name}", f"32.{name}"] for name in ("steps", "cfg", "sampler_name", "scheduler")]
    assert expected == at(roles, *VIDEO_KEYS)
    assert roles.samplers == ("31", "32")
    assert at(roles, "width", "frames", "fps", "denoise") == [["30.width"], ["30.length"], ["34.fps"], []]


def test_prompts_behind_a_video_node_are_told_by_its_outputs() -> None:
    """WanImageToVideo takes both prompts and gives both: the second output is the negative."""
    roles = trace_roles(own("wan22-i2v").graph)
    assert at(roles, "prompt", "negative_prompt", "input_image", "height") == [
        ["5.text"],
        ["6.text"],
        ["7.image"],
        ["30.height"],
    ]


def test_swapped_outputs_are_followed() -> None:
    """A sampler that takes the negative output as its positive gets the prompt there."""
    graph = own("wan22-i2v").graph
    for stage in ("31", "32"):
        graph[stage]["inputs"] |= {"positive": ["30", 1], "negative": ["30", 0]}
    assert at(trace_roles(graph), "prompt", "negative_prompt") == [["6.text"], ["5.text"]]


def test_a_sampler_in_parts() -> None:
    """SamplerCustomAdvanced: noise, guider, sampler and sigmas each hold their own (D10)."""
    roles = trace_roles(flux())
    expected = [["4.clip_l", "4.t5xxl"], [], ["7.noise_seed"], ["9.steps"], [], ["8.sampler_name"], ["9.scheduler"]]
    assert expected == at(roles, *VIDEO_KEYS)
    assert at(roles, "denoise", "width") == [["9.denoise"], ["10.width", "13.width"]]


def test_a_guider_with_guidance() -> None:
    """CFGGuider holds cfg and takes both prompts."""
    guider = node("CFGGuider", model=["1", 0], positive=["5", 0], negative=["15", 0], cfg=4.0)
    roles = trace_roles(flux(**{"6": guider, "15": node("CLIPTextEncode", clip=["2", 0], text="")}))
    assert at(roles, "cfg", "negative_prompt", "prompt") == [["6.cfg"], ["15.text"], ["4.clip_l", "4.t5xxl"]]


def test_a_custom_sampler() -> None:
    """SamplerCustom holds seed and cfg itself, and takes the rest from other nodes."""
    graph = text_to_image() | {
        "5": node(
            "SamplerCustom",
            add_noise=True,
            noise_seed=1,
            cfg=7.0,
            model=["1", 0],
            positive=["2", 0],
            negative=["3", 0],
            sampler=["8", 0],
            sigmas=["9", 0],
            latent_image=["4", 0],
        ),
        "8": node("KSamplerSelect", sampler_name="euler"),
        "9": node("BasicScheduler", model=["1", 0], scheduler="karras", steps=20, denoise=1.0),
    }
    expected = [["2.text"], ["3.text"], ["5.noise_seed"], ["9.steps"], ["5.cfg"], ["8.sampler_name"], ["9.scheduler"]]
    assert expected == at(trace_roles(graph), *VIDEO_KEYS)
    graph["5"]["inputs"]["add_noise"] = False
    assert at(trace_roles(graph), "seed") == [[]]


def test_a_sampler_without_noise_has_no_seed() -> None:
    """DisableNoise gives a sampler nothing to seed."""
    assert at(trace_roles(flux(**{"7": node("DisableNoise")})), "seed") == [[]]


@pytest.mark.parametrize(
    "between",
    [
        node("ControlNetApply", conditioning=["2", 0], control_net=["9", 0], image=["9", 0], strength=1.0),
        node("ConditioningSetTimestepRange", conditioning=["2", 0], start=0.0, end=1.0),
        node("unCLIPConditioning", conditioning=["2", 0], clip_vision_output=["9", 0], strength=1.0),
        node("SomeoneElsesSwitch", input_1=["2", 0], image=["9", 0]),
        node("ReferenceLatent", conditioning=["2", 0], latent=["4", 0]),
    ],
)
def test_conditioning_nodes_in_between(between: dict[str, Any]) -> None:
    """Whatever stands between text and sampler is followed upwards to the text."""
    graph = text_to_image(positive=["8", 0]) | {"8": between, "9": node("Loader")}
    assert at(trace_roles(graph), "prompt", "negative_prompt") == [["2.text"], ["3.text"]]


def test_two_texts_that_are_combined() -> None:
    """A combined conditioning has two texts, and the prompt stands in both."""
    graph = text_to_image(positive=["8", 0]) | {
        "8": node("ConditioningCombine", conditioning_1=["2", 0], conditioning_2=["9", 0]),
        "9": node("CLIPTextEncode", text="more", clip=["1", 1]),
    }
    assert at(trace_roles(graph), "prompt") == [["2.text", "9.text"]]


def test_both_sides_through_a_control_net() -> None:
    """ControlNetApplyAdvanced hands both conditionings on, each by its own output."""
    control = node("ControlNetApplyAdvanced", positive=["2", 0], negative=["3", 0], control_net=["9", 0])
    graph = text_to_image(positive=["8", 0], negative=["8", 1]) | {"8": control, "9": node("ControlNetLoader")}
    assert at(trace_roles(graph), "prompt", "negative_prompt") == [["2.text"], ["3.text"]]


def test_a_class_that_only_the_server_knows() -> None:
    """With the server's word for it, a conditioning input may have any name."""
    mix = node("Mixer", text="a label", first=["2", 0])
    graph = text_to_image(positive=["8", 0]) | {"8": mix}
    classes = {**node_classes(), "Mixer": {"input": {"required": {"first": ["CONDITIONING"]}}, "output": ["X"]}}
    assert at(trace_roles(graph), "prompt") == [["8.text"]]
    assert at(trace_roles(graph, classes), "prompt") == [["2.text"]]


@pytest.mark.parametrize(
    ("encoder", "places"),
    [
        (node("CLIPTextEncodeSDXL", text_g="a", text_l="a", width=1024, clip=["1", 1]), ["2.text_g", "2.text_l"]),
        (node("CLIPTextEncodeSD3", clip_l="", clip_g="", t5xxl="", clip=["1", 1]), ["2.clip_l", "2.clip_g", "2.t5xxl"]),
        (node("TextEncodeQwenImageEdit", prompt="a", clip=["1", 1]), ["2.prompt"]),
    ],
)
def test_encoders_with_other_inputs(encoder: dict[str, Any], places: list[str]) -> None:
    """A prompt is written to every text input that an encoder has."""
    assert [places] == at(trace_roles(text_to_image() | {"2": encoder}), "prompt")


def test_a_loader_that_holds_the_prompts() -> None:
    """Loaders that encode the prompts themselves hold them as `positive` and `negative`."""
    graph = text_to_image(positive=["1", 1], negative=["1", 2])
    graph["1"] = node("EfficientLoader", ckpt_name="x", positive="a lake", negative="blur", lora_stack=["4", 0])
    assert at(trace_roles(graph), "prompt", "negative_prompt") == [["1.positive"], ["1.negative"]]


def test_a_text_from_a_primitive_node() -> None:
    """A text that is linked from a node with nothing but a text stands there, over several hops as well."""
    graph = text_to_image()
    graph["2"]["inputs"]["text"] = ["8", 0]
    graph |= {"8": node("ShowText", text=["9", 0]), "9": node("PrimitiveStringMultiline", value="a lake")}
    assert at(trace_roles(graph), "prompt") == [["9.value"]]


def test_a_number_from_a_primitive_node() -> None:
    """Seeds and sizes may come from primitive nodes too."""
    graph = text_to_image(seed=["8", 0])
    graph["8"] = node("PrimitiveInt", value=5, control_after_generate="fixed")
    graph["4"]["inputs"]["width"] = ["9", 0]
    graph["9"] = node("INTConstant", value=640)
    assert at(trace_roles(graph), "seed", "width", "height") == [["8.value"], ["9.value"], ["4.height"]]


@pytest.mark.parametrize(
    "source",
    [
        node("StringConcatenate", string_a="a", string_b="b", delimiter=" "),
        node("StringReplace", string="a", find="b", replace="c"),
        node("LanguageModel", prompt="a", temperature=0.5),
    ],
)
def test_a_text_that_is_computed_has_no_place(source: dict[str, Any]) -> None:
    """A prompt that another node makes cannot be written, and the reason names both nodes."""
    graph = text_to_image()
    graph["2"]["inputs"]["text"] = ["8", 0]
    roles = trace_roles(graph | {"8": source})
    expected = f'"text" of node 2 (CLIPTextEncode) is computed by node 8 ({source["class_type"]})'
    assert ((), expected) == (roles.at("prompt"), roles.blocked["prompt"])


def test_a_shared_text_is_no_negative_prompt() -> None:
    """A node that is both prompts has a place for the first only."""
    roles = trace_roles(text_to_image(negative=["2", 0]))
    assert at(roles, "prompt", "negative_prompt") == [["2.text"], []]
    assert roles.blocked["negative_prompt"] == "node 2 holds the prompt and the negative prompt"


def test_a_zeroed_conditioning_has_no_text() -> None:
    """ConditioningZeroOut makes a negative out of the prompt that keeps nothing of its text."""
    graph = text_to_image(negative=["8", 0]) | {"8": node("ConditioningZeroOut", conditioning=["2", 0])}
    roles = trace_roles(graph)
    assert at(roles, "prompt", "negative_prompt") == [["2.text"], []]
    assert roles.blocked == {}
