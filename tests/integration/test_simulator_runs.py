"""What a prompt goes through in the simulator: sockets, order, cache, interruption, restart, the journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfygen.graph import graph_sha256
from comfygen.images import decode
from comfygen.simulator import Simulator
from tests.integration.simulating import UUID, sd15, simulated, still

STALL = {"kind": "stall"}


@pytest.mark.parametrize("settings", [{"history_gap": 600}, {"faults": [{"kind": "late_history", "seconds": 600}]}])
async def test_success_is_told_before_the_history_knows(settings: dict[str, Any]) -> None:
    """execution_success comes before the history entry; how long before can be set for all prompts or for some."""
    async with simulated(**settings) as client, client.listening() as listener:
        prompt_id = await client.submit(still())
        await listener.until("execution_success")
        queue = await client.get("/queue")
        assert await client.get(f"/history/{prompt_id}") == {}
    assert [item[1] for item in queue["queue_running"]] == [prompt_id]


async def test_messages_go_to_the_client_of_the_prompt_only() -> None:
    """Another client hears the queue count and nothing else."""
    async with simulated() as client, client.listening("other") as other:
        await client.run(still())
        await client.submit(still(2), client_id="other")
        heard = await other.until("execution_start")
    assert {kind for kind, _ in heard} == {"status", "execution_start"}


async def test_prompt_without_client_tells_everyone_its_progress_and_nothing_else() -> None:
    """Progress is shouted, the ends are not told at all."""
    async with simulated() as client, client.listening() as listener:
        await client.run(sd15(), client_id=None)
        await client.submit(still(5))
        heard = await listener.until("execution_start")
    assert {kind for kind, _ in heard} == {"status", "progress", "progress_state", "execution_start"}


async def test_reconnect_is_told_where_the_run_stands() -> None:
    """A socket opened in the middle of its client's run hears the node, without a prompt id."""
    async with simulated(faults=[STALL]) as client:
        await client.until_running(prompt_id := await client.submit(sd15()))
        async with client.listening() as listener:
            first = [await anext(listener) for _ in range(2)]
            await client.post("/interrupt", {"prompt_id": prompt_id})
            rest = await listener.until("executing", node=None)
    assert first[1][0] == "executing"
    assert first[1][1].keys() == {"node"}
    assert "execution_interrupted" in [kind for kind, _ in rest]


async def test_socket_goes_deaf_when_an_older_one_of_its_id_closes() -> None:
    """The registration of the newer socket is lost with the older one, as recorded."""
    async with simulated() as client, client.listening("twin") as older, client.listening("twin") as newer:
        await newer.until("status")
        await older.socket.close()
        while client.simulator.hub.hears("twin"):
            await client.get("/prompt")
        await client.run(still(), client_id="twin")
        client.simulator.restart()
        assert await newer.until("closed") == []


async def test_junk_from_a_client_is_ignored_and_flags_are_answered_once() -> None:
    """feature_flags is answered if it is the first text, nothing else is."""
    flags = json.dumps({"type": "feature_flags", "data": {}})
    async with simulated() as client, client.listening("a") as first, client.listening("b") as second:
        await first.socket.send_str(flags)
        assert (await first.until("feature_flags"))[-1][1]["supports_preview_metadata"]
        for text in (flags, "junk", "[]"):
            await first.socket.send_str(text)
            await second.socket.send_str("junk")
        await second.socket.send_str(flags)
        heard = []
        for name, listener in (("a", first), ("b", second)):
            await client.submit(still(), client_id=name)
            heard += [kind for kind, _ in await listener.until("executing", node=None)]
    assert "feature_flags" not in heard


async def test_identical_nodes_of_one_graph_run_once() -> None:
    """Two equal savers in one graph share the file of the first."""
    twin = {"class_type": "SaveImage", "inputs": still()["2"]["inputs"]}
    async with simulated() as client:
        outputs = (await client.run(still() | {"3": twin}))["outputs"]
    assert outputs["2"] == outputs["3"]


async def test_unknown_inputs_lead_nowhere() -> None:
    """An input that the class does not have may be a link to nothing: nobody follows it."""
    odd = still()
    odd["1"]["inputs"]["mask"] = ["99", 0]
    odd["2"]["inputs"]["images_2"] = ["2", 0]
    async with simulated() as client:
        assert (await client.run(odd))["status"]["completed"]


async def test_graph_that_is_too_deep_is_a_500_and_the_next_one_runs() -> None:
    """A chain of thousands of nodes breaks the walk over it, not the server."""
    deep = sd15()
    for number in range(3000):
        model = [f"m{number - 1}" if number else "1", 0]
        deep[f"m{number}"] = {"class_type": "ModelSamplingSD3", "inputs": {"model": model, "shift": 1.0}}
    deep["5"]["inputs"]["model"] = ["m2999", 0]
    async with simulated() as client:
        assert (await client.post("/prompt", {"prompt": deep}))[0] == 500
        assert (await client.run(still()))["status"]["completed"]


async def test_new_prefix_runs_the_saver_alone() -> None:
    """The picture is not sampled again when only the file name changes."""
    async with simulated() as client:
        first = await client.file(await client.run(sd15()))
        renamed = sd15()
        renamed["7"]["inputs"]["filename_prefix"] = "other"
        second = await client.file(await client.run(renamed))
        assert client.simulator.journal.samplers == 1
    assert decode(first) == decode(second)


@pytest.mark.parametrize(("body", "samplers"), [({"unload_models": True}, 1), ({"free_memory": True}, 2)])
async def test_free_memory_empties_the_cache(body: dict[str, bool], samplers: int) -> None:
    """`free_memory` makes the same graph run again, `unload_models` alone does not."""
    async with simulated() as client:
        await client.run(sd15())
        assert await client.post("/free", body) == (200, "")
        await client.run(sd15())
        assert client.simulator.journal.samplers == samplers


async def test_free_memory_waits_for_the_run() -> None:
    """While a prompt runs its cached nodes stay; they are dropped when it is over."""
    async with simulated(faults=[STALL]) as client:
        await client.until_running(prompt_id := await client.submit(sd15()))
        await client.post("/free", {"free_memory": True})
        kept = len(client.simulator.engine.cache)
        await client.post("/interrupt", {"prompt_id": prompt_id})
        await client.entry(prompt_id)
        while client.simulator.engine.cache:
            await client.get("/prompt")
    assert kept == 4


async def test_interrupt_takes_effect_between_steps() -> None:
    """A long run ends as interrupted, and its samplers do not count."""
    async with simulated(step_seconds=30) as client, client.listening() as listener:
        prompt_id = await client.submit(sd15(steps=1000))
        await listener.until("executing", node="5")
        await client.post("/interrupt", {"prompt_id": UUID.format(9)})
        await client.post("/interrupt", {"prompt_id": prompt_id})
        entry = await client.entry(prompt_id)
        assert client.simulator.journal.samplers == 0
    assert [kind for kind, _ in entry["status"]["messages"]][-1] == "execution_interrupted"


async def test_restart_forgets_everything_but_the_files() -> None:
    """Queue, history and running prompt are gone, sockets are cut, outputs stay and their numbers go on."""
    async with simulated(faults=[STALL | {"match": "KSampler"}]) as client, client.listening() as listener:
        await client.run(still(1))
        await client.until_running(await client.submit(sd15()))
        await client.submit(still(2))
        assert await client.post("/simulator/restart", {}) == (200, "")
        await listener.until("closed")
        queue, history = await client.get("/queue"), await client.get("/history")
        entry = await client.run(still(1))
    assert (queue, history) == ({"queue_running": [], "queue_pending": []}, {})
    assert entry["outputs"]["2"]["images"][0]["filename"] == "empty_00002_.png"


async def test_log_names_prompts_and_counts_runs() -> None:
    """/simulator/log has every accepted prompt with the hash of its graph, and how often it ran."""
    async with simulated() as client:
        await client.run(sd15(), prompt_id=UUID.format(1))
        await client.run(sd15(), prompt_id=UUID.format(1))
        await client.post("/prompt", {"prompt": {}})
        log = await client.get("/simulator/log")
    assert [(entry["prompt_id"], entry["sha256"]) for entry in log["posted"]] == [
        (UUID.format(1), graph_sha256(sd15()))
    ] * 2
    assert (log["runs"], log["sampler_runs"], log["simulated"]) == ({UUID.format(1): 2}, 1, True)


async def test_log_file_outlives_the_simulator(tmp_path: Path) -> None:
    """Each accepted prompt, start and end is a line, over several lives of the simulator."""
    for seed in (1, 2):
        async with simulated(log=tmp_path / "log") as client:
            await client.run(sd15(seed=seed), prompt_id=UUID.format(seed))
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["event"], line["prompt_id"]) for line in lines] == [
        (event, UUID.format(seed)) for seed in (1, 2) for event in ("accepted", "started", "ended")
    ]
    assert [line["sampler_runs"] for line in lines if line["event"] == "ended"] == [1, 1]


async def test_run_that_is_cut_off_by_the_end_is_logged_as_lost(tmp_path: Path) -> None:
    """Stopping the simulator in the middle of a run says so in the log."""
    async with simulated(log=tmp_path / "log", faults=[STALL]) as client:
        await client.until_running(await client.submit(sd15()))
    last = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert (last["event"], last["status"]) == ("ended", "lost")


async def test_nan_is_posted_kept_and_hashed() -> None:
    """JSON's NaN passes validation, as recorded, and every list can still be asked for."""
    async with simulated() as client:
        await client.run(sd15(cfg=float("nan")))
        async with client.session.get(f"{client.simulator.url}/history") as response:
            assert "NaN" in await response.text()
        assert len((await client.get("/simulator/log"))["posted"][0]["sha256"]) == 64


async def test_port_that_is_taken_is_an_os_error_and_leaves_nothing() -> None:
    """A second simulator on the same port does not start, and its folder is removed."""
    async with simulated() as client:
        second = Simulator(port=client.simulator.port)
        with pytest.raises(OSError):
            await second.__aenter__()
        assert not second.folders.root.exists()


async def test_end_removes_the_folders() -> None:
    """Nothing of the simulator stays on disk."""
    async with simulated() as client:
        await client.run(still())
        root = client.simulator.folders.root
        assert root.exists()
    assert not root.exists()
