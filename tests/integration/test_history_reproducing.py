"""Reproducing: the request file of a row gives the graph that made it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comfygen.datasette.reproducing import recipe
from comfygen.generation import Generation, read_sidecar
from comfygen.index import Index
from comfygen.index.rows import row_of
from comfygen.index.schema import COLUMNS
from comfygen.lora import Lora
from comfygen.plan import InputImage, Plan, make_plan
from comfygen.request import Request, parse_requests
from comfygen.resources import Library
from comfygen.sidecar import Made, make_sidecar
from tests.integration.history_site import Site, sidecar

LIBRARY = Library()
PHOTO = InputImage(source="photo.png", name="photo-1a2b.png", sha256="aa", width=640, height=384)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REQUESTS: list[dict[str, object]] = [
    {"workflow": "flux-dev", "prompt": "a lake", "seed": 2**64 - 1, "preset": "high-quality", "width": 768},
    {
        "workflow": "flux-dev",
        "prompt": "a lake",
        "negative_prompt": "fog",
        "seed": 0,
        "loras": ["a:0.8", "b.safetensors:1.5"],
    },
    {"workflow": "sd15-img2img", "prompt": "watercolour", "seed": 5, "denoise": 0.7, "input_image": "photo.png"},
    {"workflow": "wan22-t2v", "prompt": "a dancer", "seed": 6, "loras": ["motion:0.7"], "tags": ["x"], "project": "p"},
    {"workflow": "wan22-i2v", "prompt": "zoom in", "seed": 7, "frames": 41, "input_image": "photo.png"},
]


def planned(request: Request) -> Plan:
    image = PHOTO if request.input_image else None
    workflow, presets = LIBRARY.workflow(request.workflow), LIBRARY.presets()
    return make_plan(request, workflow=workflow, presets=presets, seed=request.seed or 0, input_image=image)


def made(plan: Plan, width: int | None, height: int | None) -> Made:
    """The facts of a run whose output has this size."""
    return Made(
        request_id="r",
        job_id="abcdefghjkmn",
        batch_index=1,
        batch_of=1,
        image_index=1,
        image_of=1,
        node=plan.output_nodes[0],
        media_type="image/png",
        bytes=1,
        sha256="b" * 64,
        width=width,
        height=height,
        frames=plan.frames,
        fps=plan.fps,
        created=NOON,
        timings={},
        attempts=1,
        backend="http://127.0.0.1:8188",
        comfyui_version=None,
        simulated=True,
    )


def generated(request: Request, *, scale: int = 1) -> tuple[Plan, Generation]:
    """What history knows of a request that was done; its output `scale` times as large as its latent."""
    plan = planned(request)
    facts = made(plan, (plan.width or 512) * scale, (plan.height or 512) * scale)
    body = make_sidecar(plan=plan, key="a.png", url="http://127.0.0.1/a.png", request=request, made=facts).to_bytes()
    return plan, read_sidecar("a.png.json", body)


def written(generation: Generation, library: Library = LIBRARY) -> tuple[str, bool | None]:
    row = dict(zip(COLUMNS, row_of(generation), strict=True))
    loras = [
        Lora(**{name: value for name, value in asdict(lora).items() if name != "position"}) for lora in generation.loras
    ]
    found = recipe(row, loras, library)
    return found.text, found.is_exact


def parsed(text: str) -> Request:
    requests: Sequence[Request] = parse_requests(text.encode(), file="again.yaml")
    return requests[0]


@pytest.mark.parametrize("plain", REQUESTS, ids=lambda plain: f"{plain['workflow']}-{plain['seed']}")
def test_same_graph_again(plain: dict[str, object]) -> None:
    """Every built-in workflow, with presets, LoRAs, sizes and images: the file gives the very same graph."""
    plan, generation = generated(Request.from_json(plain))
    text, is_exact = written(generation)
    assert is_exact
    assert planned(parsed(text)).graph == plan.graph


def test_what_the_workflow_has_anyway_is_not_asked_for() -> None:
    """The LoRA that a workflow brings along does not come in twice."""
    request = Request.from_json(REQUESTS[3])
    _, generation = generated(request)
    asked = [lora.name for lora in parsed(written(generation)[0]).loras]
    assert set(asked) == {"motion"}
    assert len(generation.loras) > len(asked)


def test_output_of_another_size_than_its_latent() -> None:
    """Where the output was made larger after sampling, its size is not asked for."""
    plan, generation = generated(Request.from_json(REQUESTS[1]), scale=2)
    text, is_exact = written(generation)
    assert (is_exact, parsed(text).width, planned(parsed(text)).graph) == (True, None, plan.graph)


def test_workflow_that_is_gone(tmp_path: Path) -> None:
    """Without its workflow, everything that is known is written down, and that it may differ."""
    (tmp_path / "workflows").mkdir()
    _, generation = generated(Request.from_json(REQUESTS[0]))
    text, is_exact = written(generation, Library(tmp_path / "workflows"))
    again = parsed(text)
    assert (is_exact, again.seed, again.steps, again.width) == (False, 2**64 - 1, 50, 768)
    assert "# The graph that made it cannot be had exactly" in text


def test_preset_that_is_gone(tmp_path: Path) -> None:
    """A preset that no longer exists is left out; the values that it gave are written anyway."""
    (tmp_path / "presets.yaml").write_text("presets: {}\n")
    plan, generation = generated(Request.from_json(REQUESTS[0]))
    text, is_exact = written(generation, Library(None, tmp_path / "presets.yaml"))
    assert (is_exact, parsed(text).preset, planned(parsed(text)).graph) == (True, None, plan.graph)


async def test_request_file_of_a_page(tmp_path: Path) -> None:
    """History gives the file at an address of its own; the seed of an old sidecar is exact."""
    site = Site(tmp_path)
    site.add({"50% a.png": (None, sidecar(1, seed=2**53 + 1))})
    async with site.datasette() as datasette:
        answer = await datasette.client.get("/-/reproduce/50%25%20a.png.yaml")
        missing = await datasette.client.get("/-/reproduce/b.png.yaml")
    again = parsed(answer.text)
    assert (answer.status_code, missing.status_code) == (200, 404)
    assert answer.headers["content-type"] == "application/yaml; charset=utf-8"
    assert (again.seed, again.negative_prompt, again.preset) == (2**53 + 1, "blurry", "balanced")


@pytest.mark.parametrize("changes", [{"workflow": None}, {"workflow": "../x\n"}, {"prompt": ""}, {"cfg": -1}])
async def test_row_that_is_no_request(tmp_path: Path, changes: dict[str, object]) -> None:
    """A row that no request file can say is told so, with the reason."""
    site = Site(tmp_path)
    site.add({"a.png": (None, sidecar(1, **changes))})
    async with site.datasette() as datasette:
        answer = await datasette.client.get("/-/reproduce/a.png.yaml")
    assert answer.status_code == 422
    assert next(iter(changes)) in answer.text


def test_index_gives_the_same_row() -> None:
    """A row as the tests build it is the row that the index keeps."""
    _, generation = generated(Request.from_json(REQUESTS[3]))
    with closing(Index.open(Path(":memory:"))) as index:
        index.upsert_many([generation])
        assert index.get("a.png") == generation
