"""The client against recordings of real servers: submit, wait, and what comes of it."""

from __future__ import annotations

import copy
import json
from typing import Any
from uuid import uuid4

import pytest

from comfygen.comfyui_client import ComfyUIClient, Patience, Progress, PromptState, Result
from comfygen.errors import ExecutionFailed, OutOfMemory, PromptInterrupted, PromptLost, PromptRefused
from tests.comfyui_fake import until
from tests.replay import Replay, graph, recording, replayed

QUICK = Patience(lost_gap=0.01, reconnect=0.01)
SD15 = graph("flux-dev")


async def _run(client: ComfyUIClient, **options: Any) -> Result:
    prompt_id = str(uuid4())
    await client.submit(SD15, prompt_id=prompt_id)
    return await client.wait(prompt_id, poll=0.05, **options)


def _posts(name: str) -> int:
    return sum(event.get("path") == "/prompt" and event["method"] == "POST" for event in recording(name)["events"])


async def _run_all(name: str) -> list[Result | Exception]:
    """Every prompt of a recording in its order; errors are results here."""
    outcomes: list[Result | Exception] = []
    async with replayed(name) as (_, url), ComfyUIClient(url, patience=QUICK) as client:
        for _ in range(_posts(name)):
            try:
                outcomes.append(await _run(client))
            except (ExecutionFailed, PromptRefused) as exc:
                outcomes.append(exc)
    return outcomes


@pytest.mark.parametrize("version", ["v0.28.1", "v0.3.64"])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("lag", [0, 3])
async def test_a_prompt_runs_to_its_end(version: str, early: bool, lag: int) -> None:
    """Whether the events come before the answer, and the history after the end is announced or later, it succeeds."""
    async with replayed(f"{version}/02-prompt-success", early=early, lag=lag) as (_, url), ComfyUIClient(url) as client:
        result = await _run(client)
    assert [output.filename for output in result.outputs] == ["sd15_00001_.png"]


async def test_what_is_posted() -> None:
    """The graph, our own prompt id, the id of the open socket, the workflow to embed; never a number."""
    async with replayed("v0.28.1/02-prompt-success") as (replay, url), ComfyUIClient(url) as client:
        prompt_id, workflow = str(uuid4()), {"version": 0.4}
        await client.submit(SD15, prompt_id=prompt_id, workflow=workflow)
        expected = {
            "prompt": SD15,
            "prompt_id": prompt_id,
            "client_id": client.client_id,
            "extra_data": {"extra_pnginfo": {"workflow": workflow}},
        }
    assert replay.posted == [expected]


async def test_progress_ends_with_the_whole_graph() -> None:
    """The last progress that is told is the end."""
    told: list[Progress] = []
    async with replayed("v0.28.1/02-prompt-success") as (_, url), ComfyUIClient(url) as client:
        await _run(client, on_progress=told.append)
    assert (told[-1].nodes_done, told[-1].nodes_total, told[-1].fraction) == (7, 7, 1.0)


@pytest.mark.parametrize("version", ["v0.28.1", "v0.9.2"])
async def test_a_repeated_graph_comes_from_the_cache(version: str) -> None:
    """The second run names the first one's files and says so."""
    async with replayed(f"{version}/03-rerun-cached") as (_, url), ComfyUIClient(url) as client:
        first, second = await _run(client), await _run(client)
    assert (first.execution_cached, second.execution_cached) == (False, True)
    assert first.outputs == second.outputs


async def test_failing_nodes_fail_the_prompt() -> None:
    """A corrupt checkpoint, a path that leaves the folder, a truncated LoRA: each raises with node and reason."""
    outcomes = await _run_all("v0.28.1/05a-execution-error")
    failed = [(exc.node_id, exc.node_type) for exc in outcomes if isinstance(exc, ExecutionFailed)]
    expected = [("1", "CheckpointLoaderSimple"), ("2", "SaveImage"), ("100", "LoraLoader")]
    assert failed[:3] == expected


async def test_out_of_memory_can_be_retried() -> None:
    """The recorded failure with the exception of a full device raises OutOfMemory."""
    text = json.dumps(recording("v0.28.1/05a-execution-error"))
    full = json.loads(text.replace("safetensors._safetensors_rust.SafetensorError", "torch.OutOfMemoryError"))
    async with replayed(full) as (_, url), ComfyUIClient(url) as client:
        with pytest.raises(OutOfMemory) as caught:
            await _run(client)
    assert (caught.value.retryable, caught.value.node_id) == (True, "1")


@pytest.mark.parametrize("version", ["v0.28.1", "v0.3.64"])
async def test_only_the_meant_prompt_is_interrupted(version: str) -> None:
    """An interrupt for another prompt does nothing; the right one ends the run as interrupted."""
    async with replayed(f"{version}/05b-interrupt") as (replay, url), ComfyUIClient(url, patience=QUICK) as client:
        prompt_id, other = str(uuid4()), str(uuid4())
        await client.submit(SD15, prompt_id=prompt_id)
        await client.interrupt(other)
        await client.interrupt(prompt_id)
        with pytest.raises(PromptInterrupted, match=r"node 5 \(KSampler\)"):
            await client.wait(prompt_id, poll=0.05)
    assert replay.posted[1:] == [{"prompt_id": other}, {"prompt_id": prompt_id}]


async def test_every_kind_of_file_is_an_output() -> None:
    """The recorded savers: pictures, batches, animations, videos, latents; text and websocket nodes have none."""
    outcomes = await _run_all("v0.28.1/08-outputs")
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    kinds = {output.filename.rpartition(".")[2] for result in results for output in result.outputs}
    assert kinds == {"png", "webp", "webm", "mp4", "latent"}
    assert [result.texts for result in results if result.texts] == [("hello",)]


async def test_wan_runs_end_with_their_video() -> None:
    """Two-stage Wan graphs give one file each."""
    outcomes = await _run_all("v0.28.1/08b-wan22")
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    assert {len(result.outputs) for result in results} == {1}
    assert results[0].outputs[0].filename.endswith(".mp4")


async def test_videohelpersuite_files_are_found() -> None:
    """Videos under `gifs` count, temporary ones do not."""
    results = [outcome for outcome in await _run_all("v0.28.1/08c-videohelpersuite") if isinstance(outcome, Result)]
    assert [len(result.outputs) for result in results] == [1, 0, 1, 1, 1, 0]


async def test_frames_above_four_mebibytes_do_not_end_the_connection() -> None:
    """The recorded image of 4.6 MiB passes over the same socket as the events around it."""
    async with replayed("v0.28.1/09f-big-frames") as (replay, url), ComfyUIClient(url) as client:
        result = await _run(client)
        assert (result.status, replay.opened) == ("success", 1)


async def test_a_lost_socket_is_followed_by_one_with_another_id() -> None:
    """The prompt's events go to the old id, and its end is found by asking."""
    async with replayed("v0.28.1/09a-ws-reconnect") as (replay, url), ComfyUIClient(url, patience=QUICK) as client:
        await client.connect()
        before = client.client_id
        result = await _run(client)
        await until(lambda: client.client_id != before)
    assert (result.status, replay.posted[0]["client_id"]) == ("success", before)


async def test_a_restart_loses_what_was_running() -> None:
    """After the recorded SIGKILL the finished prompt is kept by us, and the running one is known to be lost."""
    async with replayed("v0.28.1/09d-kill-restart") as (_, url), ComfyUIClient(url, patience=QUICK) as client:
        done = await _run(client)
        running, pending = str(uuid4()), str(uuid4())
        await client.submit(SD15, prompt_id=running)
        await client.submit(SD15, prompt_id=pending)
        with pytest.raises(PromptLost):
            await client.wait(running, poll=0.05)
        with pytest.raises(PromptLost):
            await client.wait(pending, poll=0.05)
    assert done.status == "success"


@pytest.mark.parametrize("version", ["v0.28.1", "v0.9.2"])
async def test_one_question_tells_the_state_where_there_is_one(version: str) -> None:
    """`/api/jobs/{id}` knows finished, failed, running, pending and unknown prompts."""
    name = f"{version}/12-jobs-api"
    ids = recording(name)["ids"]
    async with replayed(name) as (replay, url), ComfyUIClient(url) as client:
        states = [await client.state(ids[prompt]) for prompt in ("ok", "bad", "run", "pend-0", "nope")]
    finished = PromptState.FINISHED
    assert states == [finished, finished, PromptState.RUNNING, PromptState.PENDING, PromptState.ABSENT]
    assert {path.rpartition("/")[0] for _, path in replay.asked} == {"", "/api/jobs"}


async def test_older_servers_are_asked_for_queue_and_then_history() -> None:
    """In this order nothing that ends in between is missed."""
    async with replayed("v0.3.64/02-prompt-success") as (replay, url), ComfyUIClient(url) as client:
        state = await client.state(str(uuid4()))
    assert state is PromptState.ABSENT
    assert [path.split("/")[1] for _, path in replay.asked] == ["system_stats", "queue", "history"]


def _bad_posts(version: str) -> list[bool]:
    """For each recorded POST of the validation errors, whether it was accepted as a whole."""
    events = recording(f"{version}/04-validation-errors")["events"]
    posts = [event for event in events if event.get("path") == "/prompt" and event["method"] == "POST"]
    return [event["status"] == 200 and not event["response_json"]["node_errors"] for event in posts]


@pytest.mark.parametrize("version", ["v0.28.1", "v0.9.2", "v0.3.64"])
async def test_every_recorded_refusal_refuses(version: str) -> None:
    """Of all the recorded bad graphs and bodies exactly those pass that ComfyUI took as a whole."""
    expected, taken = _bad_posts(version), []
    async with replayed(f"{version}/04-validation-errors") as (_, url), ComfyUIClient(url) as client:
        for _ in expected:
            try:
                await client.submit(SD15, prompt_id=str(uuid4()))
                taken.append(True)
            except PromptRefused:
                taken.append(False)
    assert (len(taken), taken) == (len(expected), expected)


async def test_a_prompt_that_is_queued_in_part_is_withdrawn() -> None:
    """A 200 with `node_errors` is a refusal, and what was queued does not run."""
    recorded = copy.deepcopy(recording("v0.28.1/04-validation-errors"))
    at = next(
        i for i, event in enumerate(recorded["events"]) if event.get("text", "").startswith("two outputs, one bad")
    )
    recorded["events"] = [recorded["events"][0], *recorded["events"][at : at + 2]]
    prompt_id = str(uuid4())
    async with replayed(recorded) as (replay, url), ComfyUIClient(url) as client:
        with pytest.raises(PromptRefused, match=r"node 3 \(SaveImage\) filename_prefix"):
            await client.submit(SD15, prompt_id=prompt_id)
    assert _changes(replay) == ["/prompt", "/queue", "/interrupt"]


def _changes(replay: Replay) -> list[str]:
    return [path for method, path in replay.asked if method == "POST"]
