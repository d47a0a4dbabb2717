"""The main job: a file dropped into a folder becomes a stored, indexed, searchable generation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfygen.images import check_image
from comfygen.sidecar import CLASSIC_KEYS
from comfygen.simulator import Simulator
from tests import making
from tests.acceptance.harness import REQUEST, Folders, House, house, until

KINDS = pytest.mark.parametrize("kind", ["folder", "bucket"])
LORAS = "loras: ['style_a.safetensors:0.7', 'style_b.safetensors:0.6']\n"


@KINDS
async def test_a_dropped_file_becomes_output_sidecar_and_row(tmp_path: Path, kind: str) -> None:
    """With the service running: drop, wait for the result, look at everything."""
    async with house(tmp_path, kind) as (home, _):
        await home.start()
        home.drop("lake.yaml", REQUEST + LORAS + "preset: draft\n")
        await until(lambda: home.reports().get("lake.yaml"), "the result")
        (output,) = home.reports()["lake.yaml"]["outputs"]
        stored = home.places.objects()
        sidecar = json.loads(stored[f"{output['key']}.json"])
        assert check_image(stored[output["key"]]).width == 64
        assert [key for key in CLASSIC_KEYS if key not in sidecar] == []
        assert sidecar["simulated"] is True
        assert (sidecar["steps"], sidecar["cfg"], sidecar["sampler"]) == (2, 5.0, "euler")
        await until(lambda: home.rows(), "the row")
        loras = "SELECT l.name, g.strength FROM generation_loras g JOIN loras l ON l.id = g.lora_id ORDER BY g.position"
        assert home.rows(loras) == [("style_a.safetensors", 0.7), ("style_b.safetensors", 0.6)]
        assert await home.stop() == 0


async def test_what_was_asked_for_is_what_ran(tmp_path: Path) -> None:
    """The posted graph has every parameter and both LoRAs."""
    async with house(tmp_path) as (home, simulator):
        home.drop("lake.yaml", REQUEST + LORAS + "seed: 18446744073709551615\ncfg: 4.5\n")
        assert await home.once() == 0
        graph = simulator.posted[0].graph
        sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")["inputs"]
        assert (sampler["seed"], sampler["cfg"], sampler["steps"]) == (2**64 - 1, 4.5, 2)
        chain = [node["inputs"]["lora_name"] for node in graph.values() if node["class_type"] == "LoraLoader"]
        assert chain == ["style_a.safetensors", "style_b.safetensors"]
        assert home.rows("SELECT seed_text FROM generations") == [("18446744073709551615",)]


@KINDS
async def test_a_deleted_index_comes_back_row_for_row(tmp_path: Path, kind: str) -> None:
    """index.db is derived: without it, the next start makes the identical one."""
    async with house(tmp_path, kind) as (home, _):
        home.drop("lake.yaml", REQUEST + LORAS + "count: 4\n")
        assert await home.once() == 0
        tables = ("generations", "loras", "generation_loras", "problems")
        before = {table: home.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}
        for path in (home.folder / "state").glob("index.db*"):
            path.unlink()
        assert await home.once() == 0
        assert {table: home.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables} == before
        assert len(before["generations"]) == 4


@KINDS
async def test_an_img2img_request_uses_the_picture_beside_it(tmp_path: Path, kind: str) -> None:
    """The picture is cropped, uploaded and named in the sidecar."""
    async with house(tmp_path, kind) as (home, simulator):
        home.drop("car.png", making.picture(96, 48))
        text = (
            "workflow: sd15-img2img\nprompt: watercolor\ninput_image: car.png\nresize: 64x64\ncrop: cover\nsteps: 2\n"
        )
        home.drop("car.yaml", text)
        assert await home.once() == 0
        assert home.rows("SELECT width, height FROM generations") == [(64, 64)]
        loaded = next(n for n in simulator.posted[0].graph.values() if n["class_type"] == "LoadImage")
        assert loaded["inputs"]["image"].startswith("comfygen-")
        assert home.left() == ["car.png"]


async def test_one_file_with_several_requests_and_a_matrix(tmp_path: Path) -> None:
    """Two documents; the second one is a cross product of two by two."""
    async with house(tmp_path) as (home, _):
        home.drop("many.yaml", REQUEST + "---\n" + REQUEST + "matrix:\n  cfg: [3, 4]\n  seed: [1, 2]\n")
        assert await home.once() == 0
        assert len(home.reports()["many.yaml"]["outputs"]) == 5
        assert sorted(home.rows("SELECT cfg, seed FROM generations WHERE batch_of = 4")) == [
            (3.0, 1),
            (3.0, 2),
            (4.0, 1),
            (4.0, 2),
        ]


async def test_the_same_id_is_generated_once(tmp_path: Path) -> None:
    """The second request with an `id` of its own ends well, with a note and without a job."""
    async with house(tmp_path) as (home, simulator):
        for name in ("one.yaml", "two.yaml"):
            home.drop(name, REQUEST + "id: lake-1\n")
            assert await home.once() == 0
        assert len(simulator.posted) == 1
        assert "not generated again" in home.reports()["two.yaml"]["notes"][0]


async def test_jobs_wait_while_comfyui_is_away(tmp_path: Path) -> None:
    """The service starts without it, says so, and works as soon as it is there."""
    async with Simulator() as simulator:
        port = int(simulator.url.rpartition(":")[2])
    home = House(tmp_path, f"http://127.0.0.1:{port}", Folders(tmp_path))
    await home.start()
    home.drop("lake.yaml")
    await until(lambda: "accepted" in home.log and "Jobs wait" in home.log, "the warning")
    assert home.reports() == {}
    async with Simulator(port=port):
        await until(lambda: home.reports().get("lake.yaml"), "the result")
        assert await home.stop() == 0
