"""Plans: explicit before preset before workflow, LoRAs in order, and everything told that was not asked for."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfygen.errors import NotFound
from comfygen.graph import graph_sha256
from comfygen.lora import Lora
from comfygen.plan import Plan, make_plan
from comfygen.presets import parse_presets
from comfygen.request import Request
from tests.unit.sample_graphs import ROOT, node, own, recorded, text_to_image
from tests.unit.sample_plans import PICTURE, PRESETS, named, plan, refused


@pytest.mark.parametrize("name", ["draft", "balanced", "high-quality", "fast", "ultra"])
def test_a_preset_changes_the_sampler_and_nothing_else(name: str) -> None:
    """Under each of the five presets the graph is the workflow's, node by node, but for four sampler settings."""
    expected = copy.deepcopy(own("flux-dev").graph)
    preset = PRESETS.preset(name)
    expected["2"]["inputs"]["text"] = "a lake"
    expected["5"]["inputs"] |= {"seed": 42, "steps": preset.steps, "cfg": preset.cfg}
    expected["5"]["inputs"] |= {"sampler_name": preset.sampler, "scheduler": preset.scheduler}
    made = plan(preset=name)
    assert expected == made.graph
    assert (name, preset.steps, preset.cfg) == (made.preset, made.steps, made.cfg)
    assert (preset.sampler, preset.scheduler, ()) == (made.sampler, made.scheduler, made.warnings)


def test_a_preset_with_loras_is_the_recorded_graph() -> None:
    """A request with explicit settings and two LoRAs gives the graph that servers have run."""
    asked: dict[str, Any] = {"steps": 4, "cfg": 7.0, "sampler": "euler", "scheduler": "normal", "seed": 42}
    loras = (Lora(name="style_a.safetensors", strength=0.7), Lora(name="style_b.safetensors", strength=0.6))
    made = plan(prompt="a mountain lake at dawn", width=64, height=64, loras=loras, **asked)
    assert recorded("flux-dev.two-loras") == made.graph
    assert loras == made.loras


@pytest.mark.parametrize(
    "text",
    ["{0.__class__}", "{prompt}", "${HOME} $prompt", "{{7*7}}", "{% raw %}", "%s %(seed)d %n", "$(id)`id`", "\\1"],
)
def test_a_text_is_no_template(text: str) -> None:
    """Whatever it looks like, it reaches the graph letter by letter; a preset's values stay what they are, too."""
    presets = parse_presets(json.dumps({"presets": {"odd": {"sampler": text, "scheduler": text}}}).encode(), file="x")
    asked = Request(workflow="flux-dev", prompt=text, negative_prompt=text, preset="odd", seed=1)
    made = make_plan(asked, workflow=own("flux-dev"), presets=presets, seed=1, input_image=None)
    inputs = [node["inputs"] for node in made.graph.values()]
    assert [each["text"] for each in inputs if "text" in each] == [text, text]
    assert [(each["sampler_name"], each["scheduler"]) for each in inputs if "sampler_name" in each] == [(text, text)]


def test_explicit_values_go_before_the_preset() -> None:
    """What the request says itself overrides the preset, key by key."""
    made = plan(preset="high-quality", steps=12, width=768)
    assert (made.steps, made.cfg, made.sampler, made.scheduler) == (12, 7.5, "dpmpp_2m_sde", "karras")
    assert (made.width, made.height) == (768, 512)


def test_a_preset_may_set_the_size() -> None:
    """Width and height of a preset are used, unless the request has its own."""
    assert (plan(preset="wide").width, plan(preset="wide").height) == (768, 512)
    assert (plan(preset="wide", width=1024).width, plan(preset="wide", width=1024).height) == (1024, 512)


def test_what_was_not_asked_for_is_told() -> None:
    """A bare request is planned with the workflow's own settings, and the plan names them all."""
    made = plan()
    assert (
        made.workflow,
        made.prompt,
        made.negative_prompt,
        made.seed,
    ) == ("flux-dev.json", "a lake", "blurry, low quality", 42)
    assert (
        made.steps,
        made.cfg,
        made.sampler,
        made.scheduler,
        made.denoise,
    ) == (30, 7.0, "dpmpp_2m", "normal", 1.0)
    assert (made.width, made.height, made.frames, made.fps, made.vae) == (512, 512, None, None, None)
    assert (made.models, made.output_nodes) == (("v1-5-pruned-emaonly-fp16.safetensors",), ("7",))
    assert graph_sha256(made.graph) == made.graph_sha256


def test_a_negative_prompt_may_be_emptied() -> None:
    """An empty negative prompt replaces the workflow's own."""
    made = plan(negative_prompt="")
    assert (made.negative_prompt, made.graph["3"]["inputs"]["text"]) == ("", "")


def test_a_video_plan() -> None:
    """Frames, rate, both models and the VAE are told; the LoRAs of both branches are named by branch."""
    made = plan("wan22-t2v", frames=33, fps=16.0, loras=(Lora(name="motion", strength=0.5),))
    assert (made.frames, made.fps, made.width, made.height, made.denoise) == (33, 16.0, 848, 480, None)
    assert made.vae == "wan_2.1_vae.safetensors"
    assert [(lora.name, lora.branch) for lora in made.loras if lora.name == "motion"] == [
        ("motion", "high"),
        ("motion", "low"),
    ]


def test_loras_of_a_lora_preset_come_first() -> None:
    """The preset's LoRAs come before the explicit ones, and an explicit one replaces that of the same name."""
    made = plan(lora_preset="film", loras=(Lora(name="paper"), Lora(name="grain", strength=0.2)))
    assert [(lora.name, lora.strength) for lora in made.loras] == [("light", 0.5), ("paper", 1.0), ("grain", 0.2)]


@pytest.mark.parametrize(
    ("workflow", "name", "expected"),
    [
        ("flux-dev", "simple_image", [("detail_enhance", 0.7, None), ("film_grain", 0.3, None)]),
        (
            "wan22-t2v",
            "text_to_video",
            [(*lora, branch) for branch in ("high", "low") for lora in (("motion_wan", 0.8), ("camera_pan_wan", 0.6))],
        ),
        (
            "wan22-i2v",
            "image_to_video",
            [("motion_wan", 0.6, "high"), ("camera_pan_wan", 0.4, "high"), ("motion_wan", 0.6, "low")],
        ),
    ],
)
def test_the_projects_lora_presets_fit_its_workflows(workflow: str, name: str, expected: list[Any]) -> None:
    """Each LoRA preset of presets.yaml gives the chain that it describes."""
    presets = parse_presets((ROOT / "presets.yaml").read_bytes(), file="presets.yaml")
    image = PICTURE if workflow == "wan22-i2v" else None
    request = Request(workflow=workflow, prompt="x", lora_preset=name, input_image=image.source if image else None)
    made = make_plan(request, workflow=own(workflow), presets=presets, seed=1, input_image=image)
    told = [(lora.name.removesuffix(".safetensors"), lora.strength, lora.branch) for lora in made.loras]
    assert expected == [lora for lora in told if "lightx2v" not in lora[0]]


def test_the_largest_seed_is_exact() -> None:
    """Seeds go to the graph without losing a digit."""
    made = plan(seed=2**64 - 1)
    assert (made.seed, made.graph["5"]["inputs"]["seed"]) == (2**64 - 1, 2**64 - 1)


def test_an_input_image_is_set_and_gives_the_size() -> None:
    """LoadImage takes the uploaded name, and the picture's size is the plan's."""
    made = plan("sd15-img2img", image=PICTURE, denoise=0.4)
    assert (made.graph["4"]["inputs"]["image"], made.denoise) == ("lake-1f.png", 0.4)
    assert (made.width, made.height, made.input_image) == (640, 448, PICTURE)


def test_a_video_keeps_its_size_whatever_the_picture() -> None:
    """A graph with a size of its own is not sized by its input image."""
    made = plan("wan22-i2v", image=PICTURE)
    assert (made.width, made.height, made.graph["7"]["inputs"]["image"]) == (848, 480, "lake-1f.png")


def test_a_missing_input_image_is_refused() -> None:
    """A graph that loads an image needs one."""
    assert refused("wan22-i2v") == {"input_image": "this workflow needs an input image."}


def test_an_input_image_without_a_place_is_refused() -> None:
    """A graph that loads no image cannot use one."""
    assert refused(image=PICTURE) == {"input_image": "has no place in this workflow: it loads no image."}


def test_everything_without_a_place_is_told_at_once() -> None:
    """Each key that the graph does not know is a problem of its own, beside those of the LoRAs."""
    found = refused("sd15-img2img", image=PICTURE, width=512, frames=9, fps=8.0, loras=(Lora(name="x", branch="high"),))
    assert list(found) == ["width", "frames", "fps", "loras"]


def test_a_seed_that_was_asked_for_needs_a_place() -> None:
    """Without noise of its own a graph takes no explicit seed; a drawn one is simply not needed."""
    graph = text_to_image()
    graph["5"] = node("KSamplerAdvanced", **graph["5"]["inputs"] | {"add_noise": "disable", "noise_seed": 7})
    del graph["5"]["inputs"]["seed"]
    assert "seed" in refused(named(graph), seed=5)
    assert plan(named(graph)).graph["5"]["inputs"]["noise_seed"] == 7


def test_values_that_share_a_place_must_agree() -> None:
    """Where one number is width and height, two different ones are refused, and a single one sets both."""
    graph = text_to_image()
    graph["8"] = node("PrimitiveInt", value=512)
    graph["4"]["inputs"] |= {"width": ["8", 0], "height": ["8", 0]}
    assert refused(named(graph), width=512, height=768) == {
        "height": "shares one place in this workflow with width, and they differ."
    }
    assert (plan(named(graph), width=768).width, plan(named(graph), width=768).height) == (768, 768)


def test_an_explicit_value_goes_before_a_preset_in_a_shared_place() -> None:
    """Where one number is width and height, an explicit height goes before the preset's width."""
    graph = text_to_image()
    graph["8"] = node("PrimitiveInt", value=512)
    graph["4"]["inputs"] |= {"width": ["8", 0], "height": ["8", 0]}
    assert plan(named(graph), preset="wide", height=640).width == 640


def test_unknown_presets_are_refused() -> None:
    """A preset that does not exist is named, with what was probably meant."""
    with pytest.raises(NotFound, match=r"draf.*Did you mean draft"):
        plan(preset="draf")
    with pytest.raises(NotFound, match="flim"):
        plan(lora_preset="flim")


def test_the_workflow_stays_as_it_was() -> None:
    """Planning edits a copy."""
    workflow = own("wan22-t2v")
    before = copy.deepcopy(workflow.graph)
    plan(workflow, steps=8, loras=(Lora(name="x"),))
    assert before == workflow.graph


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["flux-dev", "sd15-img2img", "wan22-t2v", "wan22-i2v"]),
    preset=st.sampled_from([None, *PRESETS.presets]),
    loras=st.lists(st.builds(Lora, name=st.text(min_size=1, max_size=5), strength=st.floats(-2, 2)), max_size=3),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_plan_survives_the_ledger(name: str, preset: str | None, loras: list[Lora], seed: int) -> None:
    """A plan that was written as JSON and read again is equal, and so is one that is made again."""
    image = PICTURE if name in ("sd15-img2img", "wan22-i2v") else None
    request = Request(workflow=name, prompt="a car", preset=preset, input_image=image.source if image else None)
    request = request.model_copy(update={"loras": tuple(loras)})
    made, again = (
        make_plan(request, workflow=own(name), presets=PRESETS, seed=seed, input_image=image) for _ in range(2)
    )
    assert made == again
    assert made == Plan.from_json(json.loads(json.dumps(made.to_json())))
