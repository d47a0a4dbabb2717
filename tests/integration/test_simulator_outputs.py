"""What comes out of the simulator: real pictures and videos that follow from the whole graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfygen.images import check_image, decode, text_chunks
from comfygen.videos import metadata_of, probe
from tests.integration.simulating import sd15, simulated, still
from tests.replay import graph


@pytest.mark.parametrize("change", ["seed", "prompt", "lora", "steps", "cfg", "size"])
async def test_picture_depends_on_the_whole_graph(change: str) -> None:
    """Another seed, prompt, LoRA, setting or size gives another picture; the same graph gives the same."""
    other = sd15()
    if change == "prompt":
        other["2"]["inputs"]["text"] = "a robot in a meadow"
    elif change == "size":
        other["4"]["inputs"]["width"] = 128
    elif change == "lora":
        inputs = {"model": ["1", 0], "clip": ["1", 1], "lora_name": "film_grain.safetensors"}
        other["9"] = {"class_type": "LoraLoader", "inputs": inputs | {"strength_model": 0.5, "strength_clip": 0.5}}
        other["5"]["inputs"]["model"] = ["9", 0]
    else:
        other["5"]["inputs"][change] += 1
    made = []
    async with simulated() as client:
        for graph_ in (sd15(), other, sd15()):
            made.append(decode(await client.file(await client.run(graph_))))
    assert made[0] == made[2] != made[1]


async def test_picture_carries_the_posted_graph_and_the_workflow() -> None:
    """`prompt` and `workflow` are text chunks of the PNG, in ComfyUI's own form."""
    workflow = {"nodes": [], "version": 0.4}
    async with simulated() as client:
        entry = await client.run(sd15(), extra_data={"extra_pnginfo": {"workflow": workflow}})
        chunks = text_chunks(await client.file(entry))
    assert {key: json.loads(value) for key, value in chunks.items()} == {"prompt": sd15(), "workflow": workflow}


async def test_video_has_the_size_frames_and_rate_of_the_graph(tmp_path: Path) -> None:
    """A Wan graph gives an MP4 of its width, height, length and fps, with the graph inside."""
    wan = graph("wan22-t2v")
    async with simulated() as client:
        (tmp_path / "made.mp4").write_bytes(await client.file(await client.run(wan)))
    facts, latent = probe(tmp_path / "made.mp4"), wan["30"]["inputs"]
    assert (facts.width, facts.height, facts.frames) == (latent["width"], latent["height"], latent["length"])
    assert (facts.fps, facts.codec) == (wan["34"]["inputs"]["fps"], "h264")
    assert json.loads(metadata_of(tmp_path / "made.mp4")["prompt"])["5"] == wan["5"]


@pytest.mark.parametrize("name", ["wan22-t2v.extra-lora", "wan22-t2v.vhs", "flux-dev.two-loras"])
async def test_recorded_graphs_run_with_the_own_model_lists(name: str) -> None:
    """The graphs that ran on a real server run here too."""
    async with simulated() as client:
        assert (await client.run(graph(name)))["status"]["status_str"] == "success"


async def test_img2img_shows_the_uploaded_picture() -> None:
    """With little denoise the upload comes back nearly as it was, with other bytes the node runs again."""
    async with simulated() as client:
        made = []
        for colour in (0xFFFFFF, 0x000000):
            uploaded = await client.file(await client.run(still(colour)))
            await client.upload(uploaded, "input_image.png", overwrite="true")
            job = graph("sd15-img2img")
            job[next(node for node in job if "denoise" in job[node]["inputs"])]["inputs"]["denoise"] = 0.2
            made.append(decode(await client.file(await client.run(job))))
    means = [sum(picture.rgb) / len(picture.rgb) for picture in made]
    assert means[0] > 150 > 100 > means[1]


@pytest.mark.parametrize(
    ("name", "inputs", "format_"),
    [
        ("SaveAnimatedWEBP", {"fps": 8.0, "lossless": False, "quality": 80, "method": "default"}, "webp"),
        ("SaveAnimatedPNG", {"fps": 8.0, "compress_level": 4}, "png"),
        ("SaveImage", {}, "png"),
    ],
)
async def test_image_savers_write_files_that_decode(name: str, inputs: dict[str, Any], format_: str) -> None:
    """Every picture that a saver writes is a whole file of its format."""
    saver = {"class_type": name, "inputs": {"images": ["6", 0], "filename_prefix": "x", **inputs}}
    async with simulated() as client:
        made = await client.file(await client.run(sd15() | {"7": saver}))
    facts = check_image(made)
    assert (facts.format, facts.width, facts.height) == (format_, 64, 64)


@pytest.mark.parametrize(("codec", "found"), [("vp9", "vp9"), ("av1", "av1")])
async def test_webm_saver_writes_its_codec(codec: str, found: str, tmp_path: Path) -> None:
    """SaveWEBM writes what its codec says."""
    inputs = {"images": ["1", 0], "filename_prefix": "x", "codec": codec, "fps": 8.0, "crf": 32.0}
    job = still() | {"2": {"class_type": "SaveWEBM", "inputs": inputs}}
    async with simulated() as client:
        (tmp_path / "made.webm").write_bytes(await client.file(await client.run(job)))
    assert probe(tmp_path / "made.webm").codec == found


async def test_format_that_cannot_be_written_is_refused_clearly() -> None:
    """A VHS format without a writer fails the run with a message that names it."""
    inputs = {"images": ["1", 0], "frame_rate": 8, "loop_count": 0, "filename_prefix": "x"}
    inputs |= {"format": "video/ProRes", "pingpong": False, "save_output": True}
    async with simulated() as client:
        entry = await client.run(still() | {"2": {"class_type": "VHS_VideoCombine", "inputs": inputs}})
    assert "video/ProRes" in entry["status"]["messages"][-1][1]["exception_message"]


async def test_names_that_the_disk_refuses_fail_the_run_only() -> None:
    """A file name of 300 letters or with a NUL is an execution error, and the next prompt runs."""
    async with simulated() as client:
        ends = [(await client.run(still(prefix=name)))["status"]["status_str"] for name in ("x" * 300, "a\0b", "ok")]
    assert ends == ["error", "error", "success"]


async def test_picture_that_is_too_large_runs_out_of_memory() -> None:
    """16384 x 16384 pixels are not painted: the run fails as on a GPU that is too small."""
    async with simulated() as client:
        entry = await client.run(still(size=16384))
    assert entry["status"]["messages"][-1][1]["exception_type"] == "torch.OutOfMemoryError"
