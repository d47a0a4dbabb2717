"""Roles around the picture: size, length, denoising, input image, frame rate and outputs."""

from __future__ import annotations

from typing import Any

import pytest

from comfygen.graph import Graph
from comfygen.workflows import Place, trace_roles
from tests.unit.sample_graphs import at, bare, node, node_classes, recorded, text_to_image


@pytest.mark.parametrize(
    "latent",
    [
        node("EmptyLatentImage", width=512, height=512, batch_size=1),
        node("EmptySD3LatentImage", width=512, height=512, batch_size=1),
        node("EmptyFlux2LatentImage", width=512, height=512, batch_size=1),
        node("Wan22ImageToVideoLatent", vae=["1", 2], width=512, height=512, length=5, batch_size=1),
        node("SomeoneElsesLatent", width=512, height=512),
    ],
)
def test_whatever_sizes_the_latent(latent: dict[str, Any]) -> None:
    """Any node with a width and a height above the sampler's latent holds the size (D10)."""
    roles = trace_roles(text_to_image() | {"4": latent})
    assert at(roles, "width", "height") == [["4.width"], ["4.height"]]


def test_an_image_has_no_size_of_its_own() -> None:
    """In an image to image graph the size is the image's, unless a node scales it first."""
    graph = recorded("sd15-img2img")
    assert at(trace_roles(graph), "width", "input_image") == [[], ["4.image"]]
    graph["9"] = node("ImageScale", image=["4", 0], width=512, height=512, upscale_method="area", crop="center")
    graph["8"]["inputs"]["pixels"] = ["9", 0]
    assert at(trace_roles(graph), "width", "input_image") == [["9.width"], ["4.image"]]


def test_a_video_that_begins_with_a_made_picture() -> None:
    """Where one sampler makes the first frame for another, both sizes are set, and the length is the video's."""
    graph = text_to_image() | {
        "20": node("WanImageToVideo", positive=["2", 0], negative=["3", 0], start_image=["6", 0], vae=["1", 2]),
        "21": node("KSampler", **text_to_image()["5"]["inputs"] | {"latent_image": ["20", 2]}),
        "22": node("VAEDecode", samples=["21", 0], vae=["1", 2]),
        "7": node("SaveWEBM", images=["22", 0], fps=8.0, filename_prefix="x"),
    }
    graph["20"]["inputs"] |= {"width": 848, "height": 480, "length": 81}
    assert at(trace_roles(graph), "width", "frames") == [["4.width", "20.width"], ["20.length"]]


def second_pass(first: Graph) -> Graph:
    """A graph with a second sampler that goes over the upscaled latent of the first."""
    again = first["5"]["inputs"] | {"latent_image": ["20", 0], "denoise": 0.5, "seed": 2}
    return first | {
        "20": node("LatentUpscale", samples=["5", 0], width=1024, height=1024),
        "21": node("KSampler", **again),
        "6": node("VAEDecode", samples=["21", 0], vae=["1", 2]),
    }


def test_a_second_pass_over_nothing() -> None:
    """Behind a blank latent the second pass denoises; the first stays whole, and the upscaler keeps its size."""
    roles = trace_roles(second_pass(text_to_image()))
    expected = [["21.denoise"], ["4.width"], ["5.seed", "21.seed"], ["5.steps", "21.steps"]]
    assert expected == at(roles, "denoise", "width", "seed", "steps")
    assert (roles.samplers, roles.resizers) == (("5", "21"), ("20",))


def test_a_second_pass_over_an_image() -> None:
    """Behind an image it is the first pass that is asked how much to change."""
    roles = trace_roles(second_pass(recorded("sd15-img2img")))
    assert at(roles, "denoise", "width") == [["5.denoise"], []]


@pytest.mark.parametrize(
    ("saver", "name"),
    [
        (node("VHS_VideoCombine", images=["6", 0], frame_rate=8, filename_prefix="x"), "frame_rate"),
        (node("SaveAnimatedWEBP", images=["6", 0], fps=6.0, filename_prefix="x"), "fps"),
        (node("SaveWEBM", images=["6", 0], fps=24.0, filename_prefix="x"), "fps"),
    ],
)
def test_frame_rates_of_savers(saver: dict[str, Any], name: str) -> None:
    """The frame rate stands between sampler and file."""
    roles = trace_roles(text_to_image() | {"7": saver})
    assert ([[f"7.{name}"]], ("7",)) == (at(roles, "fps"), roles.outputs)


def test_pictures_beside_the_input_image() -> None:
    """The picture on the way of the latent is the input image; a mask is none, and others keep their files."""
    graph = recorded("sd15-img2img") | {
        "8": node("VAEEncodeForInpaint", mask=["20", 1], pixels=["4", 0], vae=["1", 2]),
        "20": node("LoadImage", image="mask.png"),
        "21": node("LoadImage", image="pose.png"),
        "22": node("ControlNetApply", conditioning=["2", 0], control_net=["23", 0], image=["21", 0]),
        "23": node("ControlNetLoader", control_net_name="pose"),
        "24": node("LoadImage", image="input_image.png"),
        "25": node("StyleModelApply", conditioning=["22", 0], style_model=["23", 0], clip_vision_output=["24", 0]),
    }
    graph["5"]["inputs"]["positive"] = ["25", 0]
    roles = trace_roles(graph)
    assert at(roles, "input_image") == [["4.image", "24.image"]]
    assert (Place("21", "image"),) == roles.more_images


def test_a_graph_without_a_sampler() -> None:
    """A graph that only enlarges a picture has an input image and an output, and nothing to prompt."""
    graph = {
        "1": node("LoadImage", image="a.png"),
        "2": node("UpscaleModelLoader", model_name="4x.pth"),
        "3": node("ImageUpscaleWithModel", image=["1", 0], upscale_model=["2", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }
    assert trace_roles(graph).takes == ("input_image",)


def test_samplers_that_no_output_needs_do_not_count() -> None:
    """What no saver depends on is not run, and so plays no part."""
    graph = text_to_image() | {"20": node("KSampler", **text_to_image()["5"]["inputs"])}
    assert trace_roles(graph).samplers == ("5",)


def test_savers_are_known_by_the_server_or_by_their_looks() -> None:
    """Previews and temporary files are no outputs; an unknown node at the end is one if there is no other."""
    graph = bare(text_to_image()) | {"8": node("PreviewImage", images=["6", 0])}
    assert trace_roles(graph).outputs == ("7",)
    graph["7"] = node("SendToGallery", images=["6", 0])
    assert trace_roles(graph).outputs == ("7",)
    graph["7"] = node("VHS_VideoCombine", images=["6", 0], frame_rate=8, filename_prefix="x", save_output=False)
    assert trace_roles(graph).outputs == ()
    classes = {**node_classes(), "Mine": {"input": {}, "output": [], "output_node": True}}
    assert trace_roles(graph | {"7": node("Mine", images=["6", 0])}, classes).outputs == ("7",)
