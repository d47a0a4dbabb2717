"""How the simulator walks a graph, and what its nodes make of their inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfygen.graph import Graph
from comfygen.simulator import nodes
from comfygen.simulator.catalogue import Catalogue
from comfygen.simulator.folders import Folders
from comfygen.simulator.ordering import Order, sources
from comfygen.simulator.saving import SAVERS, frames, picture
from comfygen.simulator.values import Call, NodeFailed, Value, digest_of
from tests.replay import graph


@pytest.fixture(scope="module")
def folders() -> Iterator[Folders]:
    made = Folders()
    yield made
    made.remove()


def order(graph_: Graph, outputs: list[str], cached: set[str] | None = None) -> list[str]:
    """The whole order of a graph."""
    steps = Order(graph_, outputs, cached or set())
    return list(iter(steps.next, None))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs without cycles: each node takes from some of those before it."""
    made: Graph = {}
    for number in range(draw(st.integers(1, 12))):
        taken = draw(st.lists(st.sampled_from(sorted(made)), max_size=3)) if made else []
        inputs = {f"in{place}": [source, 0] for place, source in enumerate(taken)}
        made[str(number)] = {"class_type": "Any", "inputs": inputs}
    return made


@given(graph_=graphs(), data=st.data())
def test_sources_come_first_and_each_needed_node_once(graph_: Graph, data: st.DataObject) -> None:
    """The order holds exactly what the outputs need, and never a node before its sources."""
    outputs = data.draw(st.lists(st.sampled_from(sorted(graph_)), min_size=1, unique=True))
    found = order(graph_, outputs)
    assert set(found) == needed(graph_, outputs)
    assert len(found) == len(set(found))
    for place, node in enumerate(found):
        assert set(sources(graph_, node)) <= set(found[:place])


def needed(graph_: Graph, outputs: list[str]) -> set[str]:
    return set(outputs).union(*(needed(graph_, sources(graph_, node)) for node in outputs))


@given(graph_=graphs())
def test_cached_nodes_are_not_asked_for_their_sources(graph_: Graph) -> None:
    """If the output is cached, nothing else runs."""
    last = list(graph_)[-1]
    assert order(graph_, [last], {last}) == [last]


def test_recorded_order_of_sd15() -> None:
    """Checkpoint, then the cheap ones as ComfyUI finds them, then sampler, decoder, saver."""
    assert order(graph("flux-dev"), ["7"]) == ["1", "4", "3", "2", "5", "6", "7"]


def call(name: str, returns: str = "LATENT", **inputs: Any) -> Call:
    return Call(node="1", name=name, inputs=inputs, returns=tuple(returns.split()))


def test_every_output_class_can_be_saved_and_every_rule_has_a_class(folders: Folders) -> None:
    """No saver of the catalogue is without code, and no code without its class."""
    catalogue = Catalogue(folders)
    assert {name for name in catalogue.classes if catalogue.is_output(name)} == SAVERS.keys()
    assert nodes.CLASSES.keys() <= catalogue.classes.keys()


@pytest.mark.parametrize(
    ("inputs", "steps"),
    [
        ({"steps": 20}, 20),
        ({"steps": 4, "start_at_step": 0, "end_at_step": 2}, 2),
        ({"steps": 4, "start_at_step": 2, "end_at_step": 10000}, 2),
        ({"sigmas": Value(digest="", steps=7)}, 7),
        ({"steps": 4, "start_at_step": 9}, 1),
    ],
)
def test_sampler_counts_the_steps_it_takes(inputs: dict[str, Any], steps: int) -> None:
    """Stages count their own part, custom samplers that of their schedule."""
    assert nodes.steps_of(call("KSampler", **inputs)) == steps


@pytest.mark.parametrize(("length", "found"), [(81, 81), (5, 5), (6, 5), (1, 1)])
def test_video_latent_has_four_frames_and_one(length: int, found: int, folders: Folders) -> None:
    """Lengths are cut to 4n+1, as the recorded length of 6 was."""
    made = call("EmptyHunyuanLatentVideo", width=848, height=480, length=length, batch_size=1)
    (latent,) = nodes.run(made, folders)
    assert (latent.frames, latent.count, latent.width, latent.height) == (found, found, 848, 480)


def test_latent_is_cut_to_multiples_of_eight(folders: Folders) -> None:
    """70 pixels give 64."""
    (latent,) = nodes.run(call("EmptyLatentImage", width=70, height=64, batch_size=3), folders)
    assert (latent.width, latent.height, latent.count) == (64, 64, 3)


def test_plain_value_for_a_link_fails_as_recorded(folders: Folders) -> None:
    """The node raises TypeError with Python's own words."""
    with pytest.raises(NodeFailed, match="string indices must be integers, not 'str'") as failure:
        nodes.run(call("VAEDecode", "IMAGE", samples="x"), folders)
    assert failure.value.kind == "TypeError"


@pytest.mark.parametrize("name", ["LoadVideo", "LoadLatent"])
def test_class_that_is_not_simulated_fails_clearly(name: str, folders: Folders) -> None:
    """It says what is missing instead of painting something."""
    with pytest.raises(NodeFailed, match=name):
        nodes.run(call(name), folders)


@pytest.mark.parametrize(
    ("name", "inputs", "size"),
    [
        ("ImageScale", {"width": 30, "height": 20}, (30, 20)),
        ("ImageUpscaleWithModel", {}, (256, 192)),
        ("LatentUpscaleBy", {"scale_by": 1.5}, (96, 72)),
        ("LatentUpscale", {"width": 100, "height": 60}, (96, 56)),
    ],
)
def test_scaling_nodes_change_the_size(
    name: str, inputs: dict[str, Any], size: tuple[int, int], folders: Folders
) -> None:
    """Pictures take any size, latents multiples of eight."""
    value, latent = Value(digest="a", width=64, height=48), name.startswith("Latent")
    linked = {"samples" if latent else "image": value}
    (scaled,) = nodes.run(call(name, "LATENT" if latent else "IMAGE", **linked, **inputs), folders)
    assert (scaled.width, scaled.height) == size


def test_lora_without_strength_and_misfits_pass_the_model_through(folders: Folders) -> None:
    """Only a LoRA that fits and has strength changes what flows on."""
    model = Value(digest="m", family="pictures")

    def digest(name: str, strength: float) -> str:
        made = call("LoraLoaderModelOnly", "MODEL", model=model, lora_name=name, strength_model=strength)
        return nodes.run(made, folders)[0].digest

    same = {
        digest("style_a.safetensors", 0.0),
        digest("wrong_shape.safetensors", 1.0),
        digest("pan_wan.safetensors", 1.0),
    }
    assert same == {"m"}
    assert digest("style_a.safetensors", 1.0) not in {"m", digest("style_a.safetensors", 0.5)}


@pytest.mark.parametrize("name", ["corrupt.safetensors", "sub/truncated.safetensors"])
def test_unreadable_file_fails_its_loader(name: str, folders: Folders) -> None:
    """A broken model file raises what safetensors raises."""
    with pytest.raises(NodeFailed, match="deserializing header"):
        nodes.run(call("CheckpointLoaderSimple", "MODEL CLIP VAE", ckpt_name=name), folders)


def test_outputs_of_one_node_differ(folders: Folders) -> None:
    """MODEL, CLIP and VAE of a checkpoint are not the same thing."""
    outputs = nodes.run(call("CheckpointLoaderSimple", "MODEL CLIP VAE", ckpt_name="a"), folders)
    assert len({value.digest for value in outputs}) == 3


def test_unknown_node_keeps_size_and_family_and_changes_the_digest(folders: Folders) -> None:
    """A node without a rule of its own lets the size through and leaves its mark."""
    model = Value(digest="m", family="wan", width=64, height=64)
    (shifted,) = nodes.run(call("ModelSamplingSD3", "MODEL", model=model, shift=8.0), folders)
    assert (shifted.family, shifted.width) == ("wan", 64)
    assert shifted.digest != "m"


@given(parts=st.lists(st.one_of(st.text(), st.integers(), st.floats(), st.none()), max_size=4))
def test_digest_takes_anything_a_graph_may_hold(parts: list[Any]) -> None:
    """Every JSON value has a digest, and equal values have equal ones."""
    assert digest_of(*parts) == digest_of(*parts)
    assert len(digest_of(parts)) == 64


def test_frames_of_a_video_follow_each_other_and_a_batch_differs() -> None:
    """A video travels, a batch shows different pictures, a plain picture stays."""
    video = Value(digest="a", width=64, height=64, count=5, frames=5)
    assert len(set(frames(video))) == 5
    batch = Value(digest="a", width=64, height=64, count=2)
    assert picture(batch, 0) != picture(batch, 1)
    plain = Value(digest="a", width=64, height=64, count=3, colour=0xFF0000)
    assert len(set(frames(plain))) == 1


def test_value_without_a_size_is_no_picture() -> None:
    """A saver that is fed a model says so."""
    with pytest.raises(NodeFailed):
        picture(Value(digest="a"))
