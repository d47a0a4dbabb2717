"""LoRA injection on graphs that people have: checkpoints, separate encoders, two experts, LoRAs already there."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from comfygen.errors import WorkflowInvalid
from comfygen.graph import Graph
from comfygen.lora import Lora, inject, loras_of
from tests.unit.sample_graphs import node, recorded, text_to_image

STYLE = Lora(name="style_a.safetensors", strength=0.7)
PAPER = Lora(name="style_b.safetensors", strength=0.6)


def separate(loader: Graph, encoder: str = "DualCLIPLoader", **sampler: Any) -> Graph:
    """Text to image with the model from `loader` (node 1) and the text encoders from a loader of their own (node 8)."""
    graph = text_to_image(**sampler) | loader
    graph["8"] = node(encoder, clip_name1="clip_l.safetensors", clip_name2="t5.safetensors", type="flux")
    graph["2"]["inputs"]["clip"] = graph["3"]["inputs"]["clip"] = ["8", 0]
    graph["9"] = node("VAELoader", vae_name="ae.safetensors")
    graph["6"]["inputs"]["vae"] = ["9", 0]
    return graph


UNET: Graph = {"1": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default")}


def test_a_chain_is_exactly_what_servers_have_run() -> None:
    """Two LoRAs on the SD 1.5 graph give the recorded graph, node by node: MODEL and CLIP run through both (D1)."""
    assert recorded("flux-dev.two-loras") == inject(recorded("flux-dev"), [STYLE, PAPER])


def test_a_chain_on_the_img2img_graph() -> None:
    """The same on the recorded img2img graph."""
    assert recorded("sd15-img2img.two-loras") == inject(recorded("sd15-img2img"), [STYLE, PAPER])


def test_the_node_has_the_documented_shape() -> None:
    """One LoRA is one node with these inputs, this title, and nothing else."""
    expected = {
        "class_type": "LoraLoader",
        "inputs": {
            "model": ["1", 0],
            "clip": ["1", 1],
            "lora_name": "lora_file.safetensors",
            "strength_model": 0.8,
            "strength_clip": 0.8,
        },
        "_meta": {"title": "LoRA: lora_file.safetensors"},
    }
    graph = inject(text_to_image(), [Lora(name="lora_file.safetensors", strength=0.8)])
    assert expected == graph["100"]


def test_a_graph_without_a_model_takes_no_lora() -> None:
    """Where no model is loaded, a LoRA that was asked for is an error, never left out in silence."""
    graph = {"1": node("LoadImage", image="a.png"), "2": node("SaveImage", filename_prefix="x", images=["1", 0])}
    with pytest.raises(WorkflowInvalid, match="no node of this graph loads a model"):
        inject(graph, [STYLE])


def test_a_clip_strength_of_its_own() -> None:
    """strength_clip is written where it differs, and told again."""
    lora = Lora(name="x", strength=0.8, strength_clip=0.3)
    graph = inject(text_to_image(), [lora])
    assert (graph["100"]["inputs"]["strength_model"], graph["100"]["inputs"]["strength_clip"]) == (0.8, 0.3)
    assert (lora,) == loras_of(graph)


@pytest.mark.parametrize("encoder", ["CLIPLoader", "DualCLIPLoader", "CLIPLoaderGGUF", "DualCLIPLoaderGGUF"])
def test_one_model_with_separate_encoders(encoder: str) -> None:
    """A UNET with its text encoders beside it gets a LoraLoader whose clip comes from the encoders (D1, D3)."""
    graph = inject(separate(UNET, encoder), [STYLE, PAPER])
    assert [graph["100"]["inputs"][name] for name in ("model", "clip")] == [["1", 0], ["8", 0]]
    assert [graph[key]["inputs"]["clip"] for key in ("2", "3")] == [["101", 1]] * 2
    assert graph["5"]["inputs"]["model"] == ["101", 0]


def test_a_gguf_model() -> None:
    """Quantised loaders are model sources as well."""
    graph = inject(separate({"1": node("UnetLoaderGGUF", unet_name="flux.gguf")}), [STYLE])
    assert graph["5"]["inputs"]["model"] == ["100", 0]


def test_an_unknown_loader_is_found_by_its_consumers() -> None:
    """Custom loaders are sources, because a sampler and a text node take what they give."""
    graph = text_to_image(model=["1", 2])
    graph["1"] = node("SomeoneElsesLoader", file="x")
    graph["2"]["inputs"]["clip"] = graph["3"]["inputs"]["clip"] = ["1", 3]
    changed = inject(graph, [STYLE])
    assert [changed["100"]["inputs"][name] for name in ("model", "clip")] == [["1", 2], ["1", 3]]


def test_model_never_goes_into_clip() -> None:
    """A graph whose text node takes no known CLIP gets a model-only LoRA (D3)."""
    graph = text_to_image() | UNET
    graph["2"] = graph["3"] = node("RemoteTextEncode", url="x")
    changed = inject(graph, [STYLE])
    assert changed["100"]["class_type"] == "LoraLoaderModelOnly"
    assert {"model", "lora_name", "strength_model"} == changed["100"]["inputs"].keys()


def test_patches_stand_behind_the_lora() -> None:
    """ModelSampling nodes and CLIPSetLastLayer are consumers: they take what the LoRA gives."""
    graph = text_to_image(model=["8", 0]) | {
        "8": node("ModelSamplingSD3", model=["1", 0], shift=3.0),
        "9": node("CLIPSetLastLayer", clip=["1", 1], stop_at_clip_layer=-2),
    }
    graph["2"]["inputs"]["clip"] = ["9", 0]
    changed = inject(graph, [STYLE])
    assert [changed["8"]["inputs"]["model"], changed["9"]["inputs"]["clip"]] == [["100", 0], ["100", 1]]
    assert [
        changed["5"]["inputs"]["model"],
        changed["2"]["inputs"]["clip"],
        changed["3"]["inputs"]["clip"],
    ] == [["8", 0], ["9", 0], ["100", 1]]


def test_a_lora_behind_a_patch_keeps_its_place() -> None:
    """A new LoRA goes behind the last one that is there, even where that stands behind a patch."""
    graph = text_to_image(model=["9", 0]) | {
        "8": node("ModelSamplingSD3", model=["1", 0], shift=3.0),
        "9": node("LoraLoaderModelOnly", model=["8", 0], lora_name="old", strength_model=1.0),
    }
    changed = inject(graph, [STYLE])
    assert [changed[key]["inputs"]["model"] for key in ("8", "9", "100", "5")] == [
        ["1", 0],
        ["8", 0],
        ["9", 0],
        ["100", 0],
    ]


def test_every_way_gets_the_lora() -> None:
    """One sampler behind an old LoRA and one without: both get the new one, and only the first keeps the old."""
    graph = text_to_image() | {
        "8": node("LoraLoader", model=["1", 0], clip=["1", 1], lora_name="old", strength_model=1.0, strength_clip=1.0),
        "9": node("KSampler", **text_to_image()["5"]["inputs"] | {"model": ["8", 0]}),
    }
    changed = inject(graph, [STYLE])
    first, second = changed["5"]["inputs"]["model"][0], changed["9"]["inputs"]["model"][0]
    assert [changed[key]["inputs"]["model"] for key in (first, second)] == [["1", 0], ["8", 0]]


def test_a_clip_stays_with_the_lora_that_it_came_through() -> None:
    """A sampler on the bare model gets a model-only LoRA; the CLIP goes on behind the LoRA that it belongs to."""
    old = node("LoraLoader", model=["1", 0], clip=["1", 1], lora_name="old", strength_model=1.0, strength_clip=1.0)
    graph = text_to_image() | {"8": old, "9": node("KSampler", **text_to_image()["5"]["inputs"] | {"model": ["8", 0]})}
    graph["2"]["inputs"]["clip"] = graph["3"]["inputs"]["clip"] = ["8", 1]
    changed = inject(graph, [STYLE])
    assert [changed[key]["class_type"] for key in ("100", "101")] == ["LoraLoaderModelOnly", "LoraLoader"]
    assert (changed["101"]["inputs"]["model"], changed["101"]["inputs"]["clip"]) == (["8", 0], ["8", 1])


def test_every_encoder_of_the_only_model_is_reached() -> None:
    """With one model in the graph, each CLIP belongs to it: the checkpoint's own and one loaded beside it."""
    graph = text_to_image() | {"8": node("CLIPLoader", clip_name="t5", type="sd3")}
    graph["3"]["inputs"]["clip"] = ["8", 0]
    changed = inject(graph, [STYLE])
    assert [changed[key]["inputs"]["clip"] for key in ("2", "3")] == [["100", 1], ["101", 1]]
    assert [changed[key]["inputs"]["clip"] for key in ("100", "101")] == [["1", 1], ["8", 0]]


def test_a_switch_hands_its_model_on() -> None:
    """A node that chooses between models is no source of its own: the LoRA goes before it, once."""
    graph = text_to_image(model=["8", 0]) | {"8": node("AnySwitch", any_01=["1", 0], any_02=None)}
    changed = inject(graph, [STYLE])
    assert [changed["8"]["inputs"]["any_01"], changed["5"]["inputs"]["model"]] == [["100", 0], ["8", 0]]
    assert {"100"} == changed.keys() - graph.keys()


def test_new_ids_never_collide() -> None:
    """New nodes are numbered above every number there; other ids are left in peace."""
    graph: Graph = text_to_image() | {
        "250": node("VAELoader", vae_name="x"),
        "57:8": node("VAELoader", vae_name="x"),
        "9" * 40: node("VAELoader", vae_name="x"),
        "²": node("VAELoader", vae_name="x"),
    }
    assert {"251", "252"} == inject(graph, [STYLE, PAPER]).keys() - graph.keys()


def test_the_graph_given_stays_as_it_was() -> None:
    """Injection returns a new graph."""
    graph = recorded("flux-dev")
    before = copy.deepcopy(graph)
    inject(graph, [STYLE])
    assert before == graph


def test_no_loras_change_nothing() -> None:
    """An empty list is no edit."""
    assert recorded("wan22-t2v.vhs") == inject(recorded("wan22-t2v.vhs"), [])
