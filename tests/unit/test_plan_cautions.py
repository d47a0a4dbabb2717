"""Warnings of a plan: what runs as asked, but probably not as meant."""

from __future__ import annotations

from typing import Any

import pytest

from comfygen.lora import Lora
from comfygen.workflows import Workflow
from tests.unit.sample_graphs import node, own, recorded, text_to_image
from tests.unit.sample_plans import PICTURE, named, plan


def warnings(workflow: str | Workflow, **asked: Any) -> str:
    """All warnings of a plan as one text."""
    return " ".join(plan(workflow, **asked).warnings)


@pytest.mark.parametrize("name", ["flux-dev", "wan22-t2v"])
def test_a_plain_request_warns_of_nothing(name: str) -> None:
    """The project's own workflows give no cause for warnings."""
    assert warnings(name) == ""


def test_a_score_that_nobody_makes_is_warned_of() -> None:
    """Asking for one is never passed over in silence."""
    assert "no scorer" in warnings("flux-dev", validate_image=True)


def test_a_preset_on_a_distilled_video_is_warned_of() -> None:
    """High guidance and many steps on a graph made for four steps without guidance: the warning names the LoRA."""
    text = warnings("wan22-t2v", preset="high-quality")
    assert 'Preset "high-quality" sets steps 50 and cfg 7.5' in text
    assert "lightx2v_4steps" in text


def test_explicit_values_are_not_warned_of() -> None:
    """Who sets steps and cfg themselves means it, and a gentle preset does no harm."""
    assert warnings("wan22-t2v", preset="high-quality", steps=6, cfg=1.0) == ""
    assert warnings("wan22-t2v", steps=40, cfg=6.0) == ""
    assert warnings("wan22-t2v", preset="gentle") == ""


def test_a_preset_on_an_ordinary_model_is_not_warned_of() -> None:
    """Neither a model that is not distilled, nor a distilled one that runs with many steps, is in danger."""
    assert warnings("flux-dev", preset="ultra") == ""
    hyper = text_to_image()
    hyper["1"]["inputs"]["ckpt_name"] = "dream_hyper.safetensors"
    assert warnings(named(hyper), preset="ultra") == ""
    for settings in ({"steps": 6, "cfg": 7.0}, {"steps": 20, "cfg": 1.0}):
        hyper["5"]["inputs"] |= settings
        assert warnings(named(hyper), preset="ultra") == ""
    hyper["5"]["inputs"] |= {"steps": 6, "cfg": 1.5}
    assert "dream_hyper.safetensors is made for about 6 steps at cfg 1.5" in warnings(named(hyper), preset="ultra")


def test_a_preset_key_without_a_place_is_left_out() -> None:
    """What a preset proposes and the graph does not know is left out, and said."""
    made = plan("sd15-img2img", image=PICTURE, preset="wide")
    assert made.warnings == (
        'Preset "wide": width has no place in this workflow and was left out.',
        'Preset "wide": height has no place in this workflow and was left out.',
    )


def test_a_negative_prompt_without_guidance_is_warned_of() -> None:
    """At cfg 1 ComfyUI does not look at the negative prompt."""
    assert "negative_prompt has no effect, because cfg is 1" in warnings("wan22-t2v", negative_prompt="blur")
    assert warnings("wan22-t2v", negative_prompt="blur", cfg=1.5) == ""


def test_a_prompt_that_replaces_several_texts_is_warned_of() -> None:
    """Where a workflow combines two different texts, both become the prompt."""
    graph = text_to_image(positive=["8", 0]) | {
        "8": node("ConditioningCombine", conditioning_1=["2", 0], conditioning_2=["9", 0]),
        "9": node("CLIPTextEncode", text="film grain", clip=["1", 1]),
    }
    assert warnings(named(graph)) == "The prompt replaces 2 different texts of this workflow."


def test_a_lora_that_is_there_already_is_warned_of() -> None:
    """The same LoRA twice on one branch adds up."""
    lightx = "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors"
    text = warnings("wan22-t2v", loras=(Lora(name=lightx, branch="high"),))
    assert f"{lightx} stands 2 times in the chain of branch high: its strengths add up." == text
    assert (
        warnings("flux-dev", loras=(Lora(name="x"), Lora(name="x")))
        == "x stands 2 times in the chain: its strengths add up."
    )


def test_a_size_that_an_upscaler_does_not_follow_is_warned_of() -> None:
    """A second pass has a size of its own."""
    again = text_to_image()["5"]["inputs"] | {"latent_image": ["20", 0], "denoise": 0.5}
    graph = text_to_image() | {
        "20": node("LatentUpscale", samples=["5", 0], width=1024, height=1024),
        "21": node("KSampler", **again),
        "6": node("VAEDecode", samples=["21", 0], vae=["1", 2]),
    }
    assert "node 20 (LatentUpscale)" in warnings(named(graph), width=768)
    assert warnings(named(graph), steps=9) == ""


def test_a_size_between_two_multiples_is_warned_of() -> None:
    """ComfyUI rounds sizes down without a word."""
    assert warnings("flux-dev", width=700, height=512) == "width will be rounded down to a multiple of 8."


def test_pictures_that_stay_are_warned_of() -> None:
    """An input image replaces one picture of a graph; the others are named."""
    graph = recorded("sd15-img2img") | {
        "21": node("LoadImage", image="pose.png"),
        "22": node("ControlNetApply", conditioning=["2", 0], control_net=["23", 0], image=["21", 0], strength=1.0),
        "23": node("ControlNetLoader", control_net_name="pose"),
    }
    graph["5"]["inputs"]["positive"] = ["22", 0]
    expected = "The input image does not replace those of node 21 (LoadImage)."
    assert expected == warnings(named(graph), image=PICTURE)


def test_the_projects_workflow_is_the_one_tested() -> None:
    """The graph the warnings are tried on is distilled: four steps at cfg 1."""
    assert (plan(own("wan22-t2v")).steps, plan(own("wan22-t2v")).cfg) == (4, 1.0)
