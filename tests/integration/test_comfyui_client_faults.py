"""The client against a ComfyUI that misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest
from aiohttp import web

from comfygen.comfyui_client import ComfyUIClient, Patience, PromptState, Result
from comfygen.errors import ComfyUIUnavailable, PromptInterrupted, PromptLost, PromptStalled
from tests.comfyui_fake import GUARD, FakeComfyUI, faking, reset, until
from tests.replay import graph

SD15 = graph("flux-dev")
QUICK = Patience(settle=GUARD, reconnect=0.005, lost_gap=0.01, dead_worker=0.05)


@pytest.fixture(name="served")
async def _served() -> AsyncIterator[tuple[FakeComfyUI, ComfyUIClient]]:
    async with faking() as (fake, url), ComfyUIClient(url, timeout=GUARD, patience=QUICK) as client:
        yield fake, client


async def _submitted(client: ComfyUIClient) -> tuple[str, asyncio.Task[Result]]:
    prompt_id = str(uuid4())
    await client.submit(SD15, prompt_id=prompt_id)
    return prompt_id, asyncio.create_task(client.wait(prompt_id, poll=0.01))


async def _result(task: asyncio.Task[Result]) -> Result:
    async with asyncio.timeout(GUARD):
        return await task


Served = tuple[FakeComfyUI, ComfyUIClient]


async def test_a_silent_socket_does_not_matter(served: Served) -> None:
    """A socket that never says a word, and the result comes."""
    fake, client = served
    prompt_id, task = await _submitted(client)
    fake.succeed(prompt_id)
    assert (await _result(task)).status == "success"


async def test_a_socket_that_answers_no_ping_is_replaced() -> None:
    """Half-open connections are found by the heartbeat, and the next one has another id."""
    async with faking() as (fake, url), ComfyUIClient(url, patience=replace(QUICK, heartbeat=0.1)) as client:
        fake.autoping = False
        await client.connect()
        await until(lambda: len(fake.opened) >= 2)
    assert fake.opened[0] != fake.opened[1]


async def test_a_server_without_websockets_will_do(served: Served) -> None:
    """Where a proxy refuses the socket, everything is polled."""
    fake, client = served

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=404)

    fake.instead["/ws"] = refuse
    assert await client.connect() is False
    prompt_id, task = await _submitted(client)
    fake.succeed(prompt_id)
    assert (await _result(task)).status == "success"


async def test_a_socket_that_never_opens_does_not_hold_up_the_prompt() -> None:
    """A handshake without an answer is waited for only a moment."""
    released = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async with faking() as (fake, url), ComfyUIClient(url, patience=replace(QUICK, settle=0.02)) as client:
        fake.instead["/ws"] = hang
        prompt_id, task = await _submitted(client)
        fake.succeed(prompt_id)
        assert (await _result(task)).status == "success"
        released.set()


async def test_a_lying_socket_does_not_end_the_prompt(served: Served) -> None:
    """Announced ends, foreign prompts, garbage and binary frames change nothing: the history decides."""
    fake, client = served
    prompt_id, task = await _submitted(client)
    socket = fake.sockets[client.client_id]
    await fake.tell("execution_success", prompt_id=prompt_id)
    await fake.tell("execution_error", prompt_id=str(uuid4()))
    await fake.tell("progress_state", prompt_id=[prompt_id], nodes=7)
    for text in ("", "{", "[1]", '{"type": 3, "data": "x"}', '{"type": "executing"}', "[" * 100_000):
        await socket.send_str(text)
    await socket.send_bytes(b"\0\0\0\1\0\0\0\2image")
    await until(lambda: fake.count("GET", f"/history/{prompt_id}") >= 3)
    assert not task.done()
    fake.succeed(prompt_id)
    assert (await _result(task)).status == "success"
    assert len(fake.opened) == 1


async def test_status_wakes_a_waiter_that_is_not_heard(served: Served) -> None:
    """The end of a prompt of an earlier process shows itself by a change of the queue, long before the next poll."""
    fake, client = served
    prompt_id = str(uuid4())
    fake.running = [prompt_id]
    await client.connect()
    task = asyncio.create_task(client.wait(prompt_id, poll=3600))
    await until(lambda: fake.count("GET", "/queue") >= 1)
    fake.succeed(prompt_id)
    await fake.tell("status", status={"exec_info": {"queue_remaining": 0}})
    assert (await _result(task)).status == "success"


async def test_a_lost_socket_wakes_the_waiter(served: Served) -> None:
    """What ended while the socket was away is found at once."""
    fake, client = served
    prompt_id = str(uuid4())
    await client.submit(SD15, prompt_id=prompt_id)
    task = asyncio.create_task(client.wait(prompt_id, poll=3600))
    await until(lambda: fake.count("GET", "/queue") >= 1)
    fake.succeed(prompt_id)
    await fake.sockets[client.client_id].close()
    assert (await _result(task)).status == "success"


async def test_a_restart_that_loses_the_queue_is_noticed(served: Served) -> None:
    """Absent from queue and history means lost, and lost can be retried."""
    fake, client = served
    _, task = await _submitted(client)
    fake.running.clear()
    with pytest.raises(PromptLost) as caught:
        await _result(task)
    assert caught.value.retryable


async def test_a_cleared_queue_loses_what_was_pending(served: Served) -> None:
    """Somebody else deleted the pending prompt: it leaves no trace."""
    fake, client = served
    prompt_id, other = str(uuid4()), str(uuid4())
    fake.running, fake.pending = [other], [prompt_id]
    task = asyncio.create_task(client.wait(prompt_id, poll=0.01))
    await until(lambda: fake.count("GET", "/queue") >= 1)
    fake.pending.clear()
    with pytest.raises(PromptLost):
        await _result(task)


async def test_cancelling_a_pending_prompt_touches_no_other(served: Served) -> None:
    """It is taken out of the queue, its waiter knows why, and what runs goes on."""
    fake, client = served
    prompt_id, other = str(uuid4()), str(uuid4())
    fake.running, fake.pending = [other], [prompt_id]
    task = asyncio.create_task(client.wait(prompt_id, poll=0.01))
    await client.cancel(prompt_id)
    with pytest.raises(PromptInterrupted):
        await _result(task)
    assert fake.running == [other]


async def test_cancelling_a_running_prompt_interrupts_it(served: Served) -> None:
    """The running one is stopped by its id."""
    _, client = served
    prompt_id, task = await _submitted(client)
    await client.cancel(prompt_id)
    with pytest.raises(PromptInterrupted):
        await _result(task)
    assert await client.state(prompt_id) is PromptState.FINISHED


async def test_old_servers_are_not_asked_to_interrupt_another_prompt(served: Served) -> None:
    """Before 0.3.57 /interrupt stops whatever runs, so it is sent only when ours does."""
    fake, client = served
    fake.version, fake.running = "0.3.50", [str(uuid4())]
    await client.interrupt(str(uuid4()))
    assert fake.count("POST", "/interrupt") == 0


async def test_a_dead_worker_is_reported(served: Served) -> None:
    """The server answers, the prompt is pending, and nothing ever runs."""
    fake, client = served
    prompt_id = str(uuid4())
    fake.pending = [prompt_id]
    with pytest.raises(PromptStalled, match="runs nothing"):
        await client.wait(prompt_id, poll=0.01)


async def test_a_server_that_goes_away_is_unavailable(served: Served) -> None:
    """After some failed looks in a row, waiting ends."""
    fake, client = served

    async def gone(request: web.Request) -> web.Response:
        return reset(request)

    _, task = await _submitted(client)
    fake.instead[""] = gone
    with pytest.raises(ComfyUIUnavailable):
        await _result(task)


async def test_jobs_that_answer_unclearly_are_not_believed(served: Served) -> None:
    """A new version number without the endpoint, or a word that we do not know: then queue and history decide."""
    fake, client = served
    fake.version = "0.99.0"
    prompt_id = str(uuid4())
    fake.running = [prompt_id]
    without = await client.state(prompt_id)

    async def strange(request: web.Request) -> web.Response:
        return web.json_response({"status": "teleported"})

    fake.instead["/api/jobs/"] = strange
    assert [without, await client.state(prompt_id)] == [PromptState.RUNNING, PromptState.RUNNING]


async def test_many_prompts_are_waited_for_at_once(served: Served) -> None:
    """Each waiter gets the result of its own prompt over the one socket."""
    fake, client = served
    begun = [await _submitted(client) for _ in range(20)]
    for prompt_id, _ in reversed(begun):
        fake.succeed(prompt_id, filename=f"{prompt_id}.png")
        await fake.tell("execution_success", prompt_id=prompt_id)
    results = [await _result(task) for _, task in begun]
    assert [result.outputs[0].filename for result in results] == [f"{prompt_id}.png" for prompt_id, _ in begun]
    assert len(fake.opened) == 1


async def test_the_whole_history_is_never_asked_for(served: Served) -> None:
    """It may be huge, and is other people's: each prompt is asked for by its own id."""
    fake, client = served
    for number in range(1000):
        fake.succeed(f"0b9f1f0e-3b0a-4e6e-8c52-6d2a1f3c{number:04}")
    prompt_id, task = await _submitted(client)
    fake.succeed(prompt_id, filename="ours.png")
    assert [output.filename for output in (await _result(task)).outputs] == ["ours.png"]
    asked = {path for _, path in fake.asked if path.startswith(("/history", "/api/jobs"))}
    assert asked == {f"/history/{prompt_id}"}


async def test_leaving_the_client_ends_its_socket(served: Served) -> None:
    """Nothing of it stays behind."""
    fake, client = served
    await client.connect()
    await client.__aexit__(None, None, None)
    await until(lambda: not fake.sockets)
    assert [task for task in asyncio.all_tasks() if "comfyui feed" in task.get_name()] == []
