"""Every fault that the simulator can be told to have, as a client meets it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import aiohttp
import pytest

from comfygen.images import ImageUnusable, decode
from comfygen.simulator import KINDS, Fault
from tests.integration.simulating import UUID, Client, sd15, simulated, still


async def last_message(client: Client, **fault: Any) -> tuple[str, dict[str, Any]]:
    """How a run ends with that fault."""
    await client.post("/simulator/faults", fault)
    kind, data = (await client.run(sd15()))["status"]["messages"][-1]
    return kind, data


async def test_execution_error_names_the_sampler_and_the_message() -> None:
    """The sampler raises with the given message; the next run is well."""
    async with simulated() as client:
        kind, data = await last_message(client, kind="execution_error", message="no such tensor")
        again = await client.run(sd15())
    assert (kind, data["node_id"], data["node_type"]) == ("execution_error", "5", "KSampler")
    assert (data["exception_type"], data["exception_message"]) == ("RuntimeError", "no such tensor\n")
    assert again["status"]["status_str"] == "success"


async def test_execution_error_strikes_cached_prompts_too() -> None:
    """A prompt served from the cache fails at its output node."""
    async with simulated() as client:
        await client.run(sd15())
        kind, data = await last_message(client, kind="execution_error")
    assert (kind, data["node_id"]) == ("execution_error", "7")


async def test_oom_is_told_as_torch_tells_it() -> None:
    """Out of memory has torch's own type and ComfyUI's advice."""
    async with simulated() as client:
        kind, data = await last_message(client, kind="oom")
    assert (kind, data["exception_type"]) == ("execution_error", "torch.OutOfMemoryError")
    assert data["exception_message"].startswith("Allocation on device")


async def test_stall_runs_until_it_is_interrupted() -> None:
    """A stalled prompt stays in the queue as running, and an interrupt ends it."""
    async with simulated(faults=[Fault(kind="stall")]) as client:
        await client.until_running(prompt_id := await client.submit(sd15()))
        await client.post("/interrupt", {"prompt_id": prompt_id})
        entry = await client.entry(prompt_id)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


async def test_slow_is_slow_and_then_well() -> None:
    """A slow run takes the given seconds longer, and can be interrupted meanwhile."""
    async with simulated(faults=[{"kind": "slow", "seconds": 0.05}, {"kind": "slow", "seconds": 600}]) as client:
        assert (await client.run(sd15()))["status"]["completed"]
        await client.until_running(prompt_id := await client.submit(sd15(seed=7)))
        await client.post("/interrupt", {})
        assert not (await client.entry(prompt_id))["status"]["completed"]


async def test_lose_queue_is_a_restart_in_the_middle_of_a_run() -> None:
    """Running and waiting prompts and the history vanish, sockets close, and the next prompt runs."""
    async with simulated(faults=[{"kind": "lose_queue", "match": "dawn"}]) as client, client.listening() as listener:
        await client.run(still())
        await client.submit(sd15(), prompt_id=UUID.format(1))
        heard = await listener.until("closed")
        history, queue = await client.get("/history"), await client.get("/queue")
        entry = await client.run(sd15(), prompt_id=UUID.format(1))
    assert heard[-1] == ("executing", {"node": "5", "display_node": "5", "prompt_id": UUID.format(1)})
    assert (history, queue["queue_running"], queue["queue_pending"]) == ({}, [], [])
    assert entry["status"]["completed"]


async def test_websocket_silent_says_nothing_and_the_history_all() -> None:
    """The socket stays open without a word about that run."""
    async with simulated(faults=[{"kind": "websocket_silent"}]) as client, client.listening() as listener:
        await client.run(still(1))
        await client.run(still(2), prompt_id=UUID.format(2))
        heard = await listener.until("executing", node=None)
    assert {data["prompt_id"] for kind, data in heard if kind != "status"} == {UUID.format(2)}


async def test_duplicate_events_tell_everything_twice() -> None:
    """Each message about the run comes twice in a row."""
    async with simulated(faults=[{"kind": "duplicate_events"}]) as client, client.listening() as listener:
        await client.submit(still(1))
        await listener.until("executing", node=None)
        await client.submit(still(2), client_id="nobody")
        heard = await listener.until("status")
    assert [kind for kind, _ in heard] == ["executing", "status"]


async def test_missing_events_leave_out_the_end() -> None:
    """Outputs and ends are not told; starts and progress are."""
    async with simulated(faults=[{"kind": "missing_events"}]) as client, client.listening() as listener:
        await client.run(sd15())
        await client.submit(still(2), client_id="nobody")
        heard = Counter(
            kind for kind, _ in await listener.until("status", status={"exec_info": {"queue_remaining": 0}})
        )
        heard += Counter(
            kind for kind, _ in await listener.until("status", status={"exec_info": {"queue_remaining": 0}})
        )
    assert heard["executing"] == 7
    assert not heard.keys() & {"executed", "execution_success"}


async def test_partial_validation_accepts_and_reports_errors() -> None:
    """200 with node_errors, and the run leaves the accused node out."""
    async with simulated(faults=[{"kind": "partial_validation"}]) as client:
        second = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "second"}}
        status, said = await client.post("/prompt", {"prompt": still() | {"3": second}})
        entry = await client.entry(said["prompt_id"])
    assert (status, list(said["node_errors"]), list(entry["outputs"])) == (200, ["3"], ["2"])


async def test_cached_empty_succeeds_without_outputs() -> None:
    """Success, all nodes cached, and nothing to fetch."""
    async with simulated(faults=[{"kind": "cached_empty"}]) as client:
        entry = await client.run(sd15())
        assert client.simulator.journal.samplers == 0
    assert (entry["status"]["status_str"], entry["outputs"]) == ("success", {})
    assert entry["status"]["messages"][1][1]["nodes"] == list(sd15())


async def test_truncated_view_sends_half_a_file_once() -> None:
    """The file looks complete to HTTP and does not decode; asked again it is whole."""
    async with simulated(faults=[{"kind": "truncated_view", "match": "empty_"}]) as client:
        entry = await client.run(still())
        half, whole = await client.file(entry), await client.file(entry)
    assert half == whole[: len(whole) // 2]
    with pytest.raises(ImageUnusable):
        decode(half)


async def test_view_404_misses_the_file_as_often_as_told() -> None:
    """The file is not found twice, then it is."""
    async with simulated(faults=[{"kind": "view_404", "times": 2}]) as client:
        await client.run(still())
        path = "/view?filename=empty_00001_.png&subfolder=cg"
        answers = []
        for _ in range(3):
            async with client.session.get(client.simulator.url + path) as response:
                answers.append(response.status)
    assert answers == [404, 404, 200]


async def test_lost_ack_queues_the_prompt_and_cuts_the_connection() -> None:
    """The POST fails for the client, and the prompt runs."""
    async with simulated(faults=[{"kind": "lost_ack"}]) as client:
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.post("/prompt", {"prompt": still(), "prompt_id": UUID.format(1)})
        entry = await client.entry(UUID.format(1))
    assert entry["status"]["completed"]


async def test_refuse_connections_answers_503_but_to_the_simulator_itself() -> None:
    """As many requests as told are refused; faults and log stay within reach."""
    async with simulated(faults=[{"kind": "refuse_connections", "times": 2, "match": "/queue"}]) as client:
        asked = ["/queue", "/prompt", "/api/queue", "/simulator/log", "/queue"]
        answers = [(await client.ask("GET", path))[0] for path in asked]
    assert answers == [503, 200, 503, 200, 200]


async def test_dead_worker_leaves_prompts_waiting_until_it_is_cleared() -> None:
    """Nothing runs, something waits, HTTP answers; clearing the faults lets it run."""
    async with simulated(faults=[{"kind": "dead_worker"}]) as client:
        prompt_id = await client.submit(still())
        queue = await client.get("/queue")
        assert (await client.ask("DELETE", "/simulator/faults"))[0] == 200
        entry = await client.entry(prompt_id)
    assert (queue["queue_running"], len(queue["queue_pending"])) == ([], 1)
    assert entry["status"]["completed"]


async def test_faults_are_set_shown_and_cleared_over_http() -> None:
    """POST takes one fault or a list, GET shows them with all kinds, DELETE clears them."""
    async with simulated() as client:
        await client.post("/simulator/faults", {"kind": "stall", "match": "robot"})
        await client.post("/simulator/faults", [{"kind": "oom", "times": 3}, {"kind": "slow"}])
        shown = await client.get("/simulator/faults")
        await client.ask("DELETE", "/simulator/faults")
        cleared = await client.get("/simulator/faults")
    assert [(fault["kind"], fault["times"], fault["match"]) for fault in shown["faults"]] == [
        ("stall", 1, "robot"),
        ("oom", 3, ""),
        ("slow", 1, ""),
    ]
    assert (cleared["faults"], cleared["kinds"].keys()) == ([], KINDS.keys())


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "flood"},
        {"kind": []},
        {"kind": "oom", "times": "x"},
        {"kind": "oom", "times": 0},
        {"kind": "oom", "times": True},
        {"kind": "slow", "seconds": -1},
        {"kind": "slow", "seconds": float("nan")},
        {"kind": "oom", "match": 7},
        {"kind": "oom", "often": 1},
        7,
        [],
    ],
    ids=str,
)
async def test_fault_that_makes_no_sense_is_refused(body: Any) -> None:
    """An unknown kind, setting or value is a 400 that says what there is; an empty list sets nothing."""
    async with simulated() as client:
        status, said = await client.post("/simulator/faults", body)
        shown = await client.get("/simulator/faults")
    assert (status, shown["faults"]) == (200 if body == [] else 400, [])
    assert body == [] or said["error"]
