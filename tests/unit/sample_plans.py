"""Plans that tests share: presets, an input image, and a shorthand for requests of which only a part matters."""

from __future__ import annotations

from typing import Any

import pytest

from comfygen.errors import WorkflowInvalid
from comfygen.graph import Graph
from comfygen.lora import Lora
from comfygen.plan import InputImage, Plan, make_plan
from comfygen.presets import LoraPreset, Preset, Presets
from comfygen.request import Request
from comfygen.workflows import Workflow
from tests.unit.sample_graphs import own

PRESETS = Presets(
    presets={
        "draft": Preset(name="draft", steps=10, cfg=5.0, sampler="euler", scheduler="normal"),
        "balanced": Preset(name="balanced", steps=20, cfg=7.0, sampler="euler_ancestral", scheduler="normal"),
        "high-quality": Preset(name="high-quality", steps=50, cfg=7.5, sampler="dpmpp_2m_sde", scheduler="karras"),
        "fast": Preset(name="fast", steps=15, cfg=7.0, sampler="dpmpp_2m", scheduler="normal"),
        "ultra": Preset(name="ultra", steps=100, cfg=8.0, sampler="dpmpp_2m_sde", scheduler="karras"),
        "wide": Preset(name="wide", width=768, height=512),
        "gentle": Preset(name="gentle", steps=6, cfg=1.0),
    },
    lora_presets={"film": LoraPreset(name="film", loras=(Lora(name="grain"), Lora(name="light", strength=0.5)))},
)
PICTURE = InputImage(source="lake.png", name="lake-1f.png", sha256="1f" * 32, width=640, height=448)


def plan(workflow: str | Workflow = "flux-dev", *, image: InputImage | None = None, **asked: Any) -> Plan:
    """The plan for a request of which only what matters is given."""
    found = own(workflow) if isinstance(workflow, str) else workflow
    if image is not None:
        asked.setdefault("input_image", image.source)
    request = Request(**{"workflow": found.stem, "prompt": "a lake", **asked})
    return make_plan(request, workflow=found, presets=PRESETS, seed=asked.get("seed", 42), input_image=image)


def refused(workflow: str | Workflow = "flux-dev", **asked: Any) -> dict[str | None, str]:
    """The complaints about a request, by field."""
    with pytest.raises(WorkflowInvalid) as caught:
        plan(workflow, **asked)
    return {problem.field: problem.message for problem in caught.value.problems}


def named(graph: Graph) -> Workflow:
    """A graph as a workflow."""
    return Workflow(name="mine.json", graph=graph)
