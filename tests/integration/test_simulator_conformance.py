"""The simulator against the recordings of a real ComfyUI 0.28.1: the same questions, answer by answer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from comfygen.images import png_bytes
from tests.integration.simulating import UUID, Client, recorded_models, simulated, still
from tests.integration.talks import Talk, differences
from tests.replay import recording

LONG_RUNS = [{"kind": "stall", "times": 99, "match": f'"steps":{steps}'} for steps in (200, 400, 500)]
NOT_SIMULATED = "an endpoint for the editor, or for an administrator, that no client of ours asks"
ITSELF = "the simulator says what it is: no ComfyUI, no GPU, no packages"
NO_FILES = "there are no model files, so their headers are empty"
RACE = "asked in the moment between the last message and the history entry, or while a run of milliseconds went on"

# What is accepted to differ: talk -> time of the question -> why.
ACCEPTED: dict[str, dict[float, str]] = {
    "01-server-info": {
        2.8: ITSELF,
        14.3: ITSELF,
        9.4: NO_FILES,
        10.6: NO_FILES,
        11.2: NOT_SIMULATED,
        11.5: NOT_SIMULATED,
        12.1: NOT_SIMULATED,
        12.5: NOT_SIMULATED,
        12.8: NOT_SIMULATED,
        17.6: NOT_SIMULATED,
        20.0: NOT_SIMULATED,
        20.6: NOT_SIMULATED,
    },
    "02-prompt-success": {7.2: RACE},
    "02b-view": {41.0: "previews are WebP, also where JPEG is asked for"},
    "03-rerun-cached": {1152.9: "the recorder deleted the file on the server's disk; tested below"},
    "05b-interrupt": {459.9: RACE},
    "06-upload-img2img": {1554.5: NOT_SIMULATED},
    "08c-videohelpersuite": {3.8: "the description of VHS_VideoCombine is a page of HTML"},
    "10-limits-and-origin": dict.fromkeys((1.7, 7.3, 13.5, 1022.4), "a server that was started with a limit of 1 MB"),
    "12-jobs-api": {1289.7: "sorted by duration, and all durations are about 0 ms here"},
}
# Sections of talks, by the note above them, that cannot go as they were recorded.
SECTIONS = {
    "PreviewAny (text output)": "PrimitiveString is not among the classes",
    "SaveImageWebsocket": "the example custom node is not among the classes",
}
TALKS = [
    ["01-server-info"],
    ["02-prompt-success", "02b-view", "02c-prompt-id", "02d-partial-targets"],
    ["03-rerun-cached"],
    ["05a-execution-error", "05b-interrupt", "05c-queue", "05d-history-delete"],
    ["06-upload-img2img"],
    ["07-lora-chain", "07b-lora-faults"],
    ["08-outputs", "08b-wan22"],
    ["08c-videohelpersuite"],
    ["10-limits-and-origin"],
    ["12-jobs-api"],
]


def picture(shade: int) -> bytes:
    return png_bytes(bytes([shade]) * 64 * 64 * 3, 64, 64)


def uploads(name: str) -> Iterator[bytes]:
    """What the recorded client uploaded: which bytes were new follows from the notes."""
    first, other = picture(1), picture(2)
    if name == "06-upload-img2img":
        yield from (first, first, other, other, picture(3), picture(4), *repeat(first, 14), b"not an image", b"a: 1")
    yield from repeat(picture(5))


async def play(talk: Talk, name: str) -> list[str]:
    """Play one recording and return the differences that are not accepted."""
    talk.uploads = uploads(name)
    skip, any_order = ACCEPTED.get(name, {}), name == "02d-partial-targets"
    return await talk.play(name, skip=skip, lenient=SECTIONS, any_order=any_order)


@pytest.mark.parametrize("talks", TALKS, ids=lambda talks: talks[0])
async def test_recorded_talk_goes_the_same_way(talks: list[str]) -> None:
    """Every recorded question gets the recorded answer, and every run tells the recorded messages in their order."""
    found = {}
    async with simulated(models=recorded_models(), faults=LONG_RUNS) as client:
        talk = Talk(client.simulator.url, client.session)
        for name in talks:
            if name == "05d-history-delete":
                await runs_before_deleting(client)
            found[name] = await play(talk, name)
    assert found == {name: [] for name in talks}


async def runs_before_deleting(client: Client) -> None:
    """The three runs that the recorder left out."""
    ids = recording("v0.28.1/05d-history-delete")["ids"]
    for number, name in enumerate(("h0", "h1", "h2")):
        await client.run(still(number + 100), prompt_id=ids[name])


async def test_every_recorded_class_is_described_as_recorded() -> None:
    """/object_info says of each class exactly what a real server says, given the same files."""
    classes = recording("v0.28.1/01-object-info")["classes"]
    async with simulated(models=recorded_models()) as client:
        (client.simulator.folders.root / "input" / "..%2F..%2Fevil.png").write_bytes(b"")
        described = await client.get("/object_info")
    extra = described.keys() - classes.keys()
    assert list(differences(classes, {name: described[name] for name in classes})) == []
    assert extra == {"VHS_VideoCombine"}


async def test_whole_stream_of_a_run_is_as_recorded() -> None:
    """Queue counts, progress states and steps come in the recorded order too, each with the recorded content."""
    events = recording("v0.28.1/02-prompt-success")["events"]
    post = next(event for event in events if event.get("path") == "/prompt")
    recorded = [event["msg"] for event in events if event["kind"] == "ws" and event["msg"]["type"] != "feature_flags"]
    async with simulated(models=recorded_models()) as client, client.listening("client-a") as listener:
        await client.post("/prompt", post["request_json"])
        heard = await listener.until("executing", node=None)
    assert list(differences(recorded, [{"type": kind, "data": data} for kind, data in heard])) == []


async def test_cached_run_names_files_that_are_gone() -> None:
    """The same graph again succeeds and names the first run's file, which nobody made again after it was deleted."""
    async with simulated() as client:
        first = await client.run(still())
        next((client.simulator.folders.root / "output" / "cg").iterdir()).unlink()
        second = await client.run(still())
        assert second["outputs"] == first["outputs"]
        assert await client.ask("GET", "/view?filename=empty_00001_.png&subfolder=cg") == (404, "")


async def test_misfit_lora_changes_nothing_and_a_fitting_one_does() -> None:
    """A LoRA that does not fit gives the same pixels as none, as recorded; one that fits gives others."""
    posts = [e for e in recording("v0.28.1/07b-lora-faults")["events"] if e.get("path") == "/prompt"]
    pixels = {}
    async with simulated(models=recorded_models()) as client:
        for post in posts[:-1]:
            graph = post["request_json"]["prompt"]
            lora = graph.get("100", {"inputs": {"lora_name": "none", "strength_model": 1}})["inputs"]
            made = await client.file(await client.run(graph))
            pixels[lora["lora_name"], lora["strength_model"]] = made.partition(b"IDAT")[2]
    told = pixels.pop(("style_a.safetensors", 1.0))
    assert len(set(pixels.values())) == 1
    assert told not in pixels.values()


def test_recordings_have_no_accepted_difference_that_is_not_there() -> None:
    """Each accepted difference names a question that was recorded: the list does not rot."""
    for name, accepted in ACCEPTED.items():
        times = {event["t_ms"] for event in recording(f"v0.28.1/{name}")["events"]}
        assert accepted.keys() <= times, name


def test_copied_recordings_are_small(pytestconfig: pytest.Config) -> None:
    """All recordings together stay under 1.5 MB."""
    folder = Path(pytestconfig.rootpath, "tests", "data", "comfyui")
    assert sum(path.stat().st_size for path in folder.rglob("*.json")) < 1_500_000


async def test_twin_prompts_break_the_queue_as_recorded() -> None:
    """Two waiting prompts with the same number and id: the second is a 500, and yet both run."""
    async with simulated(faults=[{"kind": "dead_worker"}]) as client:
        answers = []
        for colour in (6, 7):
            body = {"prompt": still(colour), "prompt_id": UUID.format(1), "number": 50}
            answers.append((await client.post("/prompt", body))[0])
        waiting = len((await client.get("/queue"))["queue_pending"])
        await client.ask("DELETE", "/simulator/faults")
        await client.run(still(8), number=60)
        assert (answers, waiting) == ([200, 500], 2)
        assert client.simulator.journal.runs[UUID.format(1)] == 2


async def test_twin_prompts_among_others_kill_the_worker_as_recorded() -> None:
    """With others waiting both POSTs are accepted, and the worker dies over them: nothing runs, all else answers."""
    async with simulated(faults=[{"kind": "dead_worker"}]) as client:
        for number, (colour, place) in enumerate([(60, None), (61, None), (62, 50), (63, 50)]):
            twin = {"number": place} if place else {}
            await client.submit(still(colour), prompt_id=UUID.format(min(number, 2)), **twin)
        await client.ask("DELETE", "/simulator/faults")
        await client.entry(UUID.format(0))
        while client.simulator.working:
            await client.get("/prompt")
        queue = await client.get("/queue")
    assert queue["queue_running"] == []
    assert [item[1] for item in queue["queue_pending"]] == [UUID.format(2)] * 2
