"""The check of a graph against a server's node classes, with the node classes of real servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from comfygen.comfyui_client import ObjectInfo
from comfygen.comfyui_client.preflight import preflight
from comfygen.graph import Graph, with_input
from tests.replay import graph, recording

SD15, LORAS, WAN = "flux-dev", "flux-dev.two-loras", "wan22-t2v"
WITHOUT_CUSTOM = [SD15, "flux-dev.512x512", LORAS, "sd15-img2img", "sd15-img2img.two-loras", WAN]
WITHOUT_CUSTOM += ["wan22-t2v.extra-lora", "wan22-t2v.848x480x81", "wan22-i2v", "wan22-i2v.848x480x81"]


def _object_info(version: str = "v0.28.1") -> ObjectInfo:
    return ObjectInfo(classes=recording(f"{version}/01-object-info")["classes"])


def _told(bad: Graph, info: ObjectInfo | None = None) -> str:
    return "\n".join(str(problem) for problem in preflight(bad, info or _object_info()))


def _node(name: str, class_type: str) -> tuple[Graph, str]:
    loaded = graph(name)
    return loaded, next(node for node, body in loaded.items() if body["class_type"] == class_type)


def _with(name: str, class_type: str, field: str, value: object) -> Graph:
    loaded, node = _node(name, class_type)
    return with_input(loaded, node, field, value)


def _without(name: str, class_type: str, field: str) -> Graph:
    loaded, node = _node(name, class_type)
    del loaded[node]["inputs"][field]
    return loaded


def _of_class(name: str, class_type: str, other: str) -> Graph:
    loaded, node = _node(name, class_type)
    loaded[node]["class_type"] = other
    return loaded


@pytest.mark.parametrize("name", WITHOUT_CUSTOM)
@pytest.mark.parametrize("version", ["v0.28.1", "v0.3.64"])
def test_what_a_real_server_ran_has_no_problems(name: str, version: str) -> None:
    """Every graph that the recorded servers accepted and ran passes against their own node classes."""
    assert preflight(graph(name), _object_info(version)) == ()


BAD: dict[str, tuple[Callable[[], Graph], list[str]]] = {
    "unknown class": (
        lambda: _of_class(SD15, "EmptyLatentImage", "EmptyLatentImages"),
        ["no node class 'EmptyLatentImages'", "Did you mean 'EmptyLatentImage'?", "Install the custom node"],
    ),
    "custom node": (lambda: graph("wan22-t2v.vhs"), ["no node class 'VHS_VideoCombine'"]),
    "checkpoint": (
        lambda: _with(SD15, "CheckpointLoaderSimple", "ckpt_name", "absent.safetensors"),
        ["(CheckpointLoaderSimple) ckpt_name", "Checkpoint 'absent.safetensors' is not installed on this ComfyUI"],
    ),
    "LoRA": (
        lambda: _with(LORAS, "LoraLoader", "lora_name", "style_aa.safetensors"),
        ["LoRA 'style_aa.safetensors' is not installed", "Did you mean 'style_a.safetensors'?"],
    ),
    "LoRA with the other separator": (
        lambda: _with(LORAS, "LoraLoader", "lora_name", "sub dir\\style_c.safetensors"),
        ["Did you mean 'sub dir/style_c.safetensors'?"],
    ),
    "LoRA for a model alone": (
        lambda: _with(WAN, "LoraLoaderModelOnly", "lora_name", "x"),
        ["LoRA 'x' is not installed", "Put the file into ComfyUI's models folder"],
    ),
    "diffusion model": (lambda: _with(WAN, "UNETLoader", "unet_name", "x"), ["Diffusion model 'x' is not installed"]),
    "text encoder": (lambda: _with(WAN, "CLIPLoader", "clip_name", "x"), ["Text encoder 'x' is not installed"]),
    "VAE": (lambda: _with(WAN, "VAELoader", "vae_name", "x"), ["VAE 'x' is not installed"]),
    "sampler": (
        lambda: _with(SD15, "KSampler", "sampler_name", "eulerr"),
        ["(KSampler) sampler_name: 'eulerr' is not offered", "Did you mean 'euler'?", "(44 in all)"],
    ),
    "choice of a newer node": (
        lambda: _with(WAN, "SaveVideo", "codec", "h265"),
        ["'h265' is not offered", "auto, h264"],
    ),
    "seed too small": (lambda: _with(SD15, "KSampler", "seed", -1), ["seed: -1 is too small", "0 or more"]),
    "seed too large": (
        lambda: _with(SD15, "KSampler", "seed", 2**64),
        ["seed: 18446744073709551616 is too large", "18446744073709551615 or less"],
    ),
    "steps that are no number": (
        lambda: _with(SD15, "KSampler", "steps", "abc"),
        ["steps: 'abc' is not a whole number"],
    ),
    "steps that are null": (lambda: _with(SD15, "KSampler", "steps", None), ["steps: None is not a whole number"]),
    "strength": (lambda: _with(LORAS, "LoraLoader", "strength_model", 1000), ["strength_model: 1000 is too large"]),
    "missing input": (lambda: _without(SD15, "KSampler", "cfg"), ["(KSampler) cfg: this input is required"]),
    "link to no node": (lambda: _with(SD15, "VAEDecode", "samples", ["99", 0]), ["node '99', which does not exist"]),
    "link to no slot": (
        lambda: _with(SD15, "VAEDecode", "samples", ["5", 7]),
        ["output 7 of node 5 (KSampler), which has 1"],
    ),
    "link of the wrong type": (
        lambda: _with(SD15, "VAEDecode", "samples", ["1", 0]),
        ["gets MODEL from node 1 (CheckpointLoaderSimple) but takes LATENT"],
    ),
    "link with a number for a node": (lambda: _with(SD15, "VAEDecode", "samples", [5, 0]), ["[5, 0] is no link"]),
    "link of three": (lambda: _with(SD15, "VAEDecode", "samples", ["5", 0, 1]), ["['5', 0, 1] is no link"]),
    "literal for a link": (
        lambda: _with(SD15, "VAEDecode", "samples", "x"),
        ["(VAEDecode) samples: 'x' stands where a link to a LATENT output belongs"],
    ),
    "list for a choice": (lambda: _with(SD15, "KSampler", "sampler_name", ["euler"]), ["['euler'] is no link"]),
    "no output node": (
        lambda: {node: body for node, body in graph(SD15).items() if body["class_type"] != "SaveImage"},
        ["no output node"],
    ),
    "empty graph": (dict, ["no output node"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_graph_is_explained(name: str) -> None:
    """Each mistake is found before anything is sent, with its place, what is wrong and what would do."""
    make, expected = BAD[name]
    told = _told(make())
    assert [words for words in expected if words not in told] == []


def _loose(loaded: Graph) -> Graph:
    return {**loaded, "900": {"class_type": "LoraLoader", "inputs": {"lora_name": "gone.safetensors"}}}


GOOD: dict[str, Callable[[], Graph]] = {
    "broken node that no output needs": lambda: _loose(graph(SD15)),
    "LoRA in a subfolder": lambda: _with(LORAS, "LoraLoader", "lora_name", "sub dir/style_c.safetensors"),
    "image that is not uploaded yet": lambda: _with("sd15-img2img", "LoadImage", "image", "new.png"),
    "numbers as strings": lambda: _with(SD15, "KSampler", "steps", "3"),
    "a fraction for an integer": lambda: _with(SD15, "KSampler", "seed", 5.9),
    "largest seed": lambda: _with(SD15, "KSampler", "seed", 2**64 - 1),
    "width off the grid": lambda: _with(SD15, "EmptyLatentImage", "width", 70),
    "unknown input": lambda: _with(SD15, "KSampler", "colour", "red"),
    "several choices": lambda: _with(SD15, "KSampler", "sampler_name", {"__value__": ["euler", "heun"]}),
    "wrapped value": lambda: _with(SD15, "KSampler", "sampler_name", {"__value__": "euler"}),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_comfyui_accepts_passes(name: str) -> None:
    """The check is never stricter than the recorded servers were."""
    assert _told(GOOD[name]()) == ""


def test_all_problems_are_told_at_once() -> None:
    """Three mistakes in three nodes are three problems."""
    bad = _with(SD15, "KSampler", "scheduler", "karass")
    bad = with_input(bad, "1", "ckpt_name", "x.safetensors")
    bad = with_input(bad, "4", "width", 100_000)
    assert len(preflight(bad, _object_info())) == 3


def test_a_class_that_the_server_rewrites_is_left_alone() -> None:
    """Newer servers replace old classes by others of their own."""
    old = _of_class(SD15, "VAEDecode", "VAEDecodeOld")
    assert preflight(old, _object_info(), replaceable={"VAEDecodeOld"}) == ()


def _saver(inputs: dict[str, Any], outputs: list[str]) -> ObjectInfo:
    source = {"input": {}, "output": outputs, "output_node": False}
    return ObjectInfo(classes={"S": {"input": inputs, "output": [], "output_node": True}, "A": source})


def _linked(slot: int) -> Graph:
    return {"1": {"class_type": "A", "inputs": {}}, "2": {"class_type": "S", "inputs": {"x": ["1", slot]}}}


@pytest.mark.parametrize(
    ("kind", "outputs", "slot"),
    [("IMAGE", ["*"], 9), ("*", ["MODEL"], 0), ("IMAGE,MASK", ["MASK"], 0), ("BBOX", ["SEGS"], 0), ("MODEL", ["X"], 0)],
)
def test_types_of_custom_nodes_are_left_alone(kind: str, outputs: list[str], slot: int) -> None:
    """Any-type and home-made types follow rules that only the server knows."""
    assert preflight(_linked(slot), _saver({"required": {"x": [kind]}}, outputs)) == ()


@pytest.mark.parametrize("kind", ["COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3"])
def test_inputs_that_grow_are_not_missed(kind: str) -> None:
    """Dynamic inputs go by other names in the graph."""
    grown: Graph = {"2": {"class_type": "S", "inputs": {"x.a": 1}}}
    assert preflight(grown, _saver({"required": {"x": [kind, {}]}}, [])) == ()


def test_long_values_are_cut() -> None:
    """A whole prompt text in the wrong place does not fill the message."""
    assert len(_told(_with(SD15, "VAEDecode", "samples", "a lake " * 1000))) < 300


def test_nothing_installed_is_said() -> None:
    """An empty list of files explains itself."""
    info = _saver({"required": {"lora_name": [[], {}]}}, [])
    told = _told({"2": {"class_type": "S", "inputs": {"lora_name": "a.safetensors"}}}, info)
    assert "Allowed: nothing is installed." in told
