"""The project's own workflow files: the names, models and sizes they promise, as graphs that stock ComfyUI runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from comfygen.graph import Graph, class_of
from comfygen.workflows import NodeClasses, trace_roles
from comfygen.workflows.checks import graph_problems
from tests.unit.sample_graphs import ROOT, bare, misfits, node_classes, own, recorded

NAMES = ["flux-dev", "sd15-img2img", "wan22-t2v", "wan22-i2v"]
FIELDS = {
    "workflow_name",
    "description",
    "model",
    "input_requirements",
    "output_resolution",
    "use_case",
    "estimated_time",
    "nodes",
}
OURS = {"seed", "noise_seed", "steps", "sampler_name", "scheduler", "text"}


def shape(graph: Graph) -> Graph:
    """A graph without titles, texts and sampler settings."""
    return {
        key: {**body, "inputs": {name: value for name, value in body["inputs"].items() if name not in OURS}}
        for key, body in bare(graph).items()
    }


def unmet(graph: Graph, classes: NodeClasses) -> Iterator[str]:
    """Required inputs that a node lacks, and inputs that its class does not have."""
    for key, body in graph.items():
        declared = classes[class_of(graph, key)]["input"]
        known = set(declared.get("required", {})) | set(declared.get("optional", {}))
        for name in (set(declared.get("required", {})) - set(body["inputs"])) | (set(body["inputs"]) - known):
            yield f"{key}.{name}"


@pytest.mark.parametrize("name", NAMES)
def test_every_metadata_field_is_there(name: str) -> None:
    """Each file tells everything that a list of workflows shows."""
    metadata = own(name).metadata
    assert set() == FIELDS - metadata.keys()
    assert all(metadata[field] for field in FIELDS)


@pytest.mark.parametrize("name", NAMES)
def test_only_nodes_and_metadata_stand_in_the_file(name: str) -> None:
    """What is stripped before submission is the metadata and nothing else."""
    document = json.loads((ROOT / "workflows" / f"{name}.json").read_bytes())
    assert {"_workflow_metadata"} == document.keys() - own(name).graph.keys()


@pytest.mark.parametrize("name", NAMES)
def test_stock_classes_are_used_as_they_are_declared(name: str) -> None:
    """Every class is known, every required input is there, every link fits, and no structure is wrong."""
    graph, classes = own(name).graph, node_classes()
    assert (list(unmet(graph, classes)), list(misfits(graph)), graph_problems(graph, classes)) == ([], [], [])


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("flux-dev", "flux-dev.512x512"),
        ("sd15-img2img", "sd15-img2img"),
        ("wan22-t2v", "wan22-t2v.848x480x81"),
        ("wan22-i2v", "wan22-i2v.848x480x81"),
    ],
)
def test_the_graphs_are_those_that_servers_ran(name: str, recording: str) -> None:
    """But for texts, seeds and sampler settings the graphs are the recorded ones."""
    assert shape(recorded(recording)) == shape(own(name).graph)


@pytest.mark.parametrize(("name", "denoise"), [("flux-dev", 1.0), ("sd15-img2img", 0.7)])
def test_the_stable_diffusion_graphs_sample_as_documented(name: str, denoise: float) -> None:
    """30 steps, cfg 7, dpmpp_2m, normal; the image to image graph keeps some of its input."""
    graph = own(name).graph
    roles = trace_roles(graph)
    expected = {"seed": 0, "steps": 30, "cfg": 7.0, "sampler": "dpmpp_2m", "scheduler": "normal", "denoise": denoise}
    assert expected == {key: roles.read(graph, key) for key in expected}
    assert own(name).metadata["model"] == "v1-5-pruned-emaonly-fp16.safetensors"


def test_the_text_to_image_graph_is_512_by_512() -> None:
    """flux-dev.json makes a 512x512 picture."""
    graph = own("flux-dev").graph
    roles = trace_roles(graph)
    assert [
        roles.read(graph, "width"),
        roles.read(graph, "height"),
        own("flux-dev").metadata["output_resolution"],
    ] == [512, 512, "512x512"]


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
def test_the_video_graphs_make_what_they_promise(kind: str) -> None:
    """848x480, 81 frames at 8 frames per second, in four steps without guidance."""
    graph = own(f"wan22-{kind}").graph
    roles = trace_roles(graph)
    expected = {"width": 848, "height": 480, "frames": 81, "fps": 8.0, "steps": 4, "cfg": 1.0, "seed": 0}
    assert expected == {key: roles.read(graph, key) for key in expected}


@pytest.mark.parametrize(("kind", "version"), [("t2v", "v1.1"), ("i2v", "v1")])
def test_the_video_metadata_names_its_components(kind: str, version: str) -> None:
    """The files say which model, text encoder, VAE and acceleration LoRA they load, and the graph loads these."""
    workflow = own(f"wan22-{kind}")
    components: Any = workflow.metadata["components"]
    text = json.dumps(workflow.graph)
    assert f"wan2.2_{kind}_high_noise_14B_fp8_scaled.safetensors" == workflow.metadata["model"]
    assert f"wan2.2_{kind}_lightx2v_4steps_lora_{version}_high_noise.safetensors" == components["lora"]
    assert components["vae"] == "wan_2.1_vae.safetensors"
    assert all(file in text for name, file in components.items() if not name.endswith("_note"))
    assert "oldt5_xxl_fp8_e4m3fn_scaled.safetensors" in components["text_encoder_note"]
    assert len(workflow.metadata["prompt_tips"]) == 4  # type: ignore[arg-type]


def test_only_the_image_workflows_need_an_image() -> None:
    """The two text workflows load no image, the two others one."""
    needs = {name: bool(trace_roles(own(name).graph).at("input_image")) for name in NAMES}
    assert needs == {"flux-dev": False, "sd15-img2img": True, "wan22-t2v": False, "wan22-i2v": True}
