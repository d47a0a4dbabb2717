"""Files in and out of the simulator, and what else it answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfygen.images import decode, png_bytes
from tests.integration.simulating import UUID, sd15, simulated, still


async def test_view_answers_parts_and_unchanged_files() -> None:
    """HEAD, Range and If-None-Match work as on any good file server."""
    async with simulated() as client:
        whole = await client.file(await client.run(still()))
        url = f"{client.simulator.url}/view?filename=empty_00001_.png&subfolder=cg"
        async with client.session.head(url) as response:
            tag, length = response.headers["Etag"], int(response.headers["Content-Length"])
        async with client.session.get(url, headers={"Range": "bytes=10-19"}) as response:
            part = (response.status, await response.read())
        async with client.session.get(url, headers={"If-None-Match": tag}) as response:
            unchanged = response.status
    assert (length, part, unchanged) == (len(whole), (206, whole[10:20]), 304)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("filename=/etc/hostname", 400),
        ("filename=../x.png", 400),
        ("filename=", 400),
        ("filename=a%00b", 400),
        ("filename=x.png&type=secret", 400),
        ("filename=x.png&subfolder=../..", 403),
        ("filename=x.png&subfolder=/etc", 403),
        ("filename=cg/x.png", 404),
        ("subfolder=cg", 404),
    ],
)
async def test_view_leaves_its_folders_for_nobody(query: str, status: int) -> None:
    """Paths that lead elsewhere are refused, absent files are not found."""
    async with simulated() as client:
        assert (await client.ask("GET", f"/view?{query}"))[0] == status


async def test_upload_is_kept_beside_another_of_its_name() -> None:
    """The same bytes keep the name, other bytes get a new one, overwrite replaces."""
    async with simulated() as client:
        names = [(await client.upload(content))[1]["name"] for content in (b"a", b"a", b"b", b"b")]
        names.append((await client.upload(b"c", overwrite="true"))[1]["name"])
        stored = (client.simulator.folders.root / "input" / "source.png").read_bytes()
    assert names == ["source.png", "source.png", "source (1).png", "source (1).png", "source.png"]
    assert stored == b"c"


async def test_upload_never_leaves_its_folder() -> None:
    """A subfolder is made, one outside is refused."""
    async with simulated() as client:
        inside = await client.upload(b"a", subfolder="comfygen/job-1")
        outside = await client.upload(b"a", subfolder="../..")
        stored = (client.simulator.folders.root / "input" / "comfygen" / "job-1" / "source.png").exists()
    assert (inside[0], outside[0], stored) == (200, 400, True)


async def test_channel_and_preview_are_made_anew() -> None:
    """`channel` gives a PNG without the graph, `preview` a WebP; a file that is no picture is a 500."""
    picture = png_bytes(bytes(range(192)), 8, 8, text={"prompt": "{}"})
    async with simulated() as client:
        await client.upload(picture, "p.png")
        await client.upload(b"no picture", "n.png")
        made = []
        for query in ("filename=p.png&channel=rgb", "filename=p.png&channel=a", "filename=p.png&preview=webp;90"):
            async with client.session.get(f"{client.simulator.url}/view?type=input&{query}") as response:
                made.append(await response.read())
        broken, _ = await client.ask("GET", "/view?type=input&filename=n.png&preview=webp")
    assert (decode(made[0]), b"prompt" in made[0]) == (decode(picture), False)
    assert (set(decode(made[1]).rgb), made[2][:4], broken) == ({255}, b"RIFF", 500)


async def test_load_image_reads_uploads_subfolders_and_outputs() -> None:
    """All three ways to name a picture work, and a way out of the folder is refused."""
    job = sd15(latent_image=["8", 0]) | {
        "8": {"class_type": "VAEEncode", "inputs": {"pixels": ["4", 0], "vae": ["1", 2]}}
    }
    ends = []
    async with simulated() as client:
        made = await client.file(await client.run(still()))
        await client.upload(made, "a.png")
        await client.upload(made, "b.png", subfolder="sub")
        for name in ("a.png", "sub/b.png", "cg/empty_00001_.png [output]", "../a.png"):
            job["4"] = {"class_type": "LoadImage", "inputs": {"image": name}}
            ends.append((await client.post("/prompt", {"prompt": job}))[0])
    assert ends == [200, 200, 200, 400]


async def test_uploaded_names_are_offered_by_load_image() -> None:
    """/object_info lists the uploaded pictures, and no other files."""
    async with simulated() as client:
        for name in ("b.png", "a.webp", "request.yaml"):
            await client.upload(b"x", name)
        described = await client.get("/object_info/LoadImage")
    assert described["LoadImage"]["input"]["required"]["image"][0] == ["a.webp", "b.png"]


async def test_server_says_that_it_is_simulated() -> None:
    """/system_stats and the front page leave no doubt."""
    async with simulated() as client:
        stats, page = await client.get("/system_stats"), await client.get("/")
    assert (stats["system"]["simulated"], stats["system"]["comfyui_version"]) == (True, "0.28.1")
    assert "simulator" in page


async def test_model_lists_can_be_given_and_change_while_it_runs() -> None:
    """`models` replaces a folder; a file that is added is seen by /models and by validation at once."""
    async with simulated(models={"loras": ["one.safetensors"]}) as client:
        before = await client.get("/models/loras")
        client.simulator.catalogue.models["loras"].append("two.safetensors")
        after = (await client.get("/object_info/LoraLoader"))["LoraLoader"]["input"]["required"]["lora_name"][0]
        kept = await client.get("/models/checkpoints")
    assert (before, after) == (["one.safetensors"], ["one.safetensors", "two.safetensors"])
    assert "v1-5-pruned-emaonly-fp16.safetensors" in kept


@pytest.mark.parametrize(
    "name",
    [
        "cyberpunk_style.safetensors",
        "watercolor_style.safetensors",
        "detail_enhance.safetensors",
        "film_grain.safetensors",
        "camera_pan_wan.safetensors",
    ],
)
async def test_loras_of_the_examples_are_there(name: str) -> None:
    """The LoRAs that documentation and examples name exist out of the box."""
    async with simulated() as client:
        assert name in await client.get("/models/loras")


@pytest.mark.parametrize("headers", [{"Origin": "http://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_foreign_pages_are_turned_away(headers: dict[str, str]) -> None:
    """A web page of another origin gets nothing, not even through /api."""
    async with simulated() as client:
        assert (await client.ask("GET", "/api/queue", headers=headers))[0] == 403


async def test_jobs_refuse_what_they_do_not_know() -> None:
    """Cancelling wants a list of ids; unknown orders and pages are refused."""
    async with simulated() as client:
        assert (await client.post("/api/jobs/cancel", {}))[0] == 400
        assert (await client.ask("GET", "/api/jobs?offset=x"))[0] == 400
        assert await client.post("/api/jobs/cancel", {"job_ids": [UUID.format(1)]}) == (200, {"cancelled": False})


@pytest.mark.parametrize("path", ["/queue", "/history", "/free"])
async def test_junk_for_a_list_is_a_bare_500(path: str) -> None:
    """Bodies that are no JSON objects break these handlers, as recorded for /queue."""
    async with simulated() as client:
        assert [(await client.ask("POST", path, data=body))[0] for body in (b"junk", b"[]")] == [500, 500]


async def test_nothing_is_written_outside(tmp_path: Path) -> None:
    """A prefix that leads out of the output folder fails the run and writes nothing there."""
    async with simulated() as client:
        entry = await client.run(still(prefix=str(tmp_path / "evil")))
    assert entry["status"]["status_str"] == "error"
    assert list(tmp_path.iterdir()) == []
