"""LoRA injection as a property of any graph: everything ends behind the new LoRAs, and nothing else moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from comfygen.graph import Graph, class_of, consumers, inputs_of, source_of
from comfygen.lora import Lora, branches, inject, loras_of
from comfygen.workflows.checks import graph_problems
from tests.unit.sample_graphs import misfits, node, text_to_image

few = settings(max_examples=60, deadline=None, derandomize=True)
NAMES = st.sampled_from(["style", "light", "motion", "paper"])
LORAS = st.lists(st.builds(Lora, name=NAMES, strength=st.floats(-2, 2)), min_size=1, max_size=3)
Wire: TypeAlias = list[object]
IDS = ["{}", "{}00", "57:{}", "loader {}"]


class Builder:
    """Builds one graph of several branches: loaders, LoRAs already there, patches, and fan-out at every hop."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.graph: Graph = {"latent": text_to_image()["4"]}
        self.shape = draw(st.sampled_from(IDS))

    def add(self, class_type: str, **inputs: object) -> str:
        key = self.shape.format(len(self.graph) + 1)
        self.graph[key] = node(class_type, **inputs)
        return key

    def branch(self, clip: Wire | None) -> None:
        """One loader and what hangs on it; `clip` is a text encoder of another loader."""
        if self.draw(st.booleans()):
            loader = self.add("CheckpointLoaderSimple", ckpt_name="base")
            model, clip = [loader, 0], [loader, 1]
        else:
            model = [self.add("UNETLoader", unet_name="base", weight_dtype="default"), 0]
        for number in range(self.draw(st.integers(0, 2))):
            self.use(model, clip)
            model, clip = self.lora(f"old {number}", model, clip)
        if self.draw(st.booleans()):
            model = [self.add("ModelSamplingSD3", model=model, shift=1.0), 0]
        self.use(model, clip, at_least=1)

    def lora(self, name: str, model: Wire, clip: Wire | None) -> tuple[list[object], list[object] | None]:
        strength = {"lora_name": name, "strength_model": 1.0}
        if clip is None or self.draw(st.booleans()):
            return [self.add("LoraLoaderModelOnly", model=model, **strength), 0], clip
        key = self.add("LoraLoader", model=model, clip=clip, strength_clip=1.0, **strength)
        return [key, 0], [key, 1]

    def use(self, model: Wire, clip: Wire | None, at_least: int = 0) -> None:
        """Some samplers and text nodes at this point of the chain."""
        for _ in range(self.draw(st.integers(at_least, 2))):
            text = [self.add("CLIPTextEncode", text="x", clip=clip), 0] if clip else None
            links = {"model": model, "positive": text, "negative": text, "latent_image": ["latent", 0]}
            self.add("KSampler", seed=1, steps=9, **{name: link for name, link in links.items() if link})


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    build = Builder(draw)
    shared = [build.add("CLIPLoader", clip_name="t5", type="wan"), 0] if draw(st.booleans()) else None
    for _ in range(draw(st.integers(1, 3))):
        build.branch(shared)
    return build.graph


def above(graph: Graph, key: str, name: str) -> list[str]:
    """The LoRAs that `model` or `clip` of a node has come through, first to last."""
    found: list[str] = []
    while (link := source_of(graph, key, name)) is not None:
        key = link.node
        if "lora_name" in inputs_of(graph, key):
            found.insert(0, inputs_of(graph, key)["lora_name"])
    return found


def ends(graph: Graph) -> Iterator[tuple[str, str]]:
    """Every input that takes MODEL or CLIP and is no LoRA's."""
    for consumer in consumers(graph):
        if consumer.input in ("model", "clip") and not class_of(graph, consumer.node).startswith("LoraLoader"):
            yield consumer.node, consumer.input


@few
@given(graph=graphs(), loras=LORAS)
def test_every_model_ends_behind_the_last_lora(graph: Graph, loras: list[Lora]) -> None:
    """Every consumer of MODEL has come through the LoRAs it had before and then through all new ones, in order."""
    changed = inject(graph, loras)
    names = [lora.name for lora in loras]
    for key, name in ends(graph):
        if name == "model":
            assert above(graph, key, name) + names == above(changed, key, name)


@few
@given(graph=graphs(), loras=LORAS)
def test_every_clip_ends_behind_the_last_lora(graph: Graph, loras: list[Lora]) -> None:
    """The same for CLIP, unless several models share the text encoder: then it stays as it is."""
    changed = inject(graph, loras)
    own = {clip.node for branch in branches(graph) for clip in branch.clips}
    for key, name in ends(graph):
        if name == "clip":
            root = key
            while (link := source_of(graph, root, "clip")) is not None:
                root = link.node
            names = [lora.name for lora in loras] if root in own else []
            assert above(graph, key, name) + names == above(changed, key, name)


@few
@given(graph=graphs(), loras=LORAS)
def test_nothing_else_moves(graph: Graph, loras: list[Lora]) -> None:
    """Old nodes differ in nothing but inputs that took MODEL or CLIP and now take them from a new LoRA."""
    changed = inject(graph, loras)
    new = changed.keys() - graph.keys()
    for key, body in graph.items():
        assert body.keys() == changed[key].keys()
        for name, value in body["inputs"].items():
            assert value == changed[key]["inputs"][name] or changed[key]["inputs"][name][0] in new


@few
@given(graph=graphs(), loras=LORAS)
def test_the_result_is_sound(graph: Graph, loras: list[Lora]) -> None:
    """No cycles, no links into nothing, no MODEL in a CLIP input, and every new node is a LoRA that something uses."""
    changed = inject(graph, loras)
    used = {consumer.source.node for consumer in consumers(changed)}
    assert [problem for problem in graph_problems(changed) if problem.field] == []
    assert list(misfits(changed)) == []
    assert changed.keys() - graph.keys() <= used


@few
@given(graph=graphs())
def test_no_loras_are_no_edit(graph: Graph) -> None:
    """An empty list gives the same graph, once and again."""
    assert graph == inject(inject(graph, []), [])


@few
@given(graph=graphs(), loras=LORAS)
def test_what_was_injected_is_told(graph: Graph, loras: list[Lora]) -> None:
    """Each new LoRA is told with its strength, as often as it stands in the graph."""
    before, after = loras_of(graph), loras_of(inject(graph, loras))
    told = [(lora.name, lora.strength) for lora in after if not lora.name.startswith("old")]
    assert {(lora.name, lora.strength) for lora in loras} == set(told)
    assert [lora.name for lora in before] == [lora.name for lora in after if lora.name.startswith("old")]
