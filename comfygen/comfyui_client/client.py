"""The client of one ComfyUI server: check, upload, submit, wait, fetch, interrupt."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiohttp

from comfygen.comfyui_client.feed import Feed
from comfygen.comfyui_client.objects import ObjectInfo
from comfygen.comfyui_client.preflight import preflight, unknown_classes
from comfygen.comfyui_client.refusal import check_postable, refusal
from comfygen.comfyui_client.results import read_history
from comfygen.comfyui_client.shapes import as_mapping, as_text
from comfygen.comfyui_client.transport import Answer, Transport
from comfygen.comfyui_client.values import (
    OutputRef,
    Patience,
    Progress,
    PromptState,
    QueueState,
    Result,
    Server,
)
from comfygen.comfyui_client.waiting import Waiting, lost
from comfygen.errors import ComfyUIError, ComfyUIUnavailable, PreflightFailed, Problem, PromptLost, PromptRefused
from comfygen.graph import Graph

OBJECT_INFO_FRESH = 2.0  # seconds; a file added a moment ago is not in an older copy
MISSING_JOB = "Job not found"
JOB_STATES = {
    "pending": PromptState.PENDING,
    "in_progress": PromptState.RUNNING,
    "completed": PromptState.FINISHED,
    "failed": PromptState.FINISHED,
    "cancelled": PromptState.FINISHED,
}


class ComfyUIClient:
    """One ComfyUI server, from `async with` to its end.

    Opens a session of its own unless one is lent. Its websocket is opened at the first submit or wait, and is only a
    hint: everything works without it, more slowly. All methods raise only errors of `comfygen.errors`.
    """

    def __init__(
        self,
        url: str,
        *,
        session: aiohttp.ClientSession | None = None,
        timeout: float = 30.0,
        patience: Patience | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self._transport = Transport(url, session=session, timeout=timeout)
        self._feed = Feed(self._transport, self.patience)
        self._server: Server | None = None
        self._object_info: ObjectInfo | None = None
        self._object_info_at = 0.0

    @property
    def url(self) -> str:
        """The address of the server, without user name and password."""
        return self._transport.server

    @property
    def client_id(self) -> str:
        """The id of the present websocket connection; a new one after each reconnect."""
        return self._feed.client_id

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._feed.close()
        await self._transport.close()

    async def connect(self) -> bool:
        """Open the websocket now instead of at the first submit; whether it stands."""
        self._feed.start()
        return await self._feed.settle()

    async def server(self, *, refresh: bool = False) -> Server:
        """What the server says of itself; asked once. What is no ComfyUI is ComfyUIUnavailable."""
        if self._server is None or refresh:
            answer = await self._transport.get("/system_stats")
            if answer.status != 200:
                raise ComfyUIUnavailable(str(answer.error("GET /system_stats")))
            self._server = Server.from_json(answer.json())
        return self._server

    async def object_info(self, *, refresh: bool = False) -> ObjectInfo:
        """The node classes of the server with their choices; kept, for it is 650 kB and takes 80 ms and more."""
        if self._object_info is None or refresh:
            answer = (await self._transport.get("/object_info")).expect_ok("GET /object_info")
            self._object_info = ObjectInfo(classes=as_mapping(answer.json()))
            self._object_info_at = asyncio.get_running_loop().time()
        return self._object_info

    async def preflight(self, graph: Graph) -> None:
        """Raise PreflightFailed with every reason why the server would not run the graph.

        On a miss the node classes are fetched anew (a LoRA may just have been added) unless they are seconds old.
        """
        problems = await self._problems(graph)
        if problems and asyncio.get_running_loop().time() - self._object_info_at > OBJECT_INFO_FRESH:
            problems = await self._problems(graph, refresh=True)
        if problems:
            raise PreflightFailed(f"ComfyUI at {self.url} cannot run this graph:", problems=problems)

    async def _problems(self, graph: Graph, *, refresh: bool = False) -> tuple[Problem, ...]:
        object_info = await self.object_info(refresh=refresh)
        if unknown_classes(graph, object_info):
            return preflight(graph, object_info, replaceable=await self._replaceable())
        return preflight(graph, object_info)

    async def _replaceable(self) -> frozenset[str]:
        """Classes that the server (since 0.14.0) rewrites into others that it has."""
        if not (await self.server()).at_least(0, 14, 0):
            return frozenset()
        answer = await self._transport.get("/node_replacements")
        return frozenset(answer.loose_json()) if answer.status == 200 else frozenset()

    async def upload_image(self, name: str, content: bytes) -> str:
        """Upload an input image; the name to put into LoadImage, which is not always the one that was asked for.

        Characters that do not survive the upload become underscores. Nothing is ever overwritten: for other bytes
        under the same name, the server finds another name.
        """
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "image"
        answer = (await self._transport.upload("/upload/image", plain, content)).expect_ok(f"the upload of {plain}")
        reply = as_mapping(answer.json())
        subfolder, stored = as_text(reply.get("subfolder")), as_text(reply.get("name"))
        if not stored:
            raise ComfyUIError(f"ComfyUI at {self.url} did not say under which name it keeps {plain}.")
        return f"{subfolder}/{stored}" if subfolder else stored

    async def submit(
        self,
        graph: Graph,
        *,
        prompt_id: str,
        client_id: str | None = None,
        workflow: Mapping[str, object] | None = None,
    ) -> None:
        """Queue the graph under our own id; `workflow` is embedded in the files beside the graph itself.

        PromptRefused if ComfyUI says no, in whole or in part. After ComfyUIUnavailable the prompt may be queued all
        the same: ask for its `state` before it is submitted again.
        """
        check_postable(graph, prompt_id)
        await self.connect()
        self._feed.listen(prompt_id, graph)
        body: dict[str, object] = {"prompt": graph, "client_id": client_id or self.client_id, "prompt_id": prompt_id}
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        try:
            answer = await self._transport.post("/prompt", body)
        except (TypeError, ValueError) as exc:
            raise PromptRefused(f"The graph holds a value that is no JSON: {exc}.") from exc
        await self._judge(answer, graph, prompt_id)

    async def _judge(self, answer: Answer, graph: Graph, prompt_id: str) -> None:
        """Raise unless the prompt was taken as a whole."""
        body = answer.loose_json()
        if answer.status == 200 and body.get("prompt_id") == prompt_id and not body.get("node_errors"):
            return
        if answer.status in {200, 500}:  # queued without its bad branches; after a 500, in one known case, queued too
            await self._withdraw(prompt_id)
        self._feed.forget(prompt_id)
        if answer.status in {200, 400} and body.keys() & {"error", "node_errors"}:
            raise refusal(body, graph, self._object_info)
        if answer.status in {413, 500}:
            reason = f"ComfyUI at {self.url} failed over the prompt itself (HTTP {answer.status}): {answer.text}"
            raise PromptRefused(reason, hint="Look into ComfyUI's log.")
        raise answer.error("POST /prompt")

    async def _withdraw(self, prompt_id: str) -> None:
        with suppress(ComfyUIError):
            await self.cancel(prompt_id)

    async def state(self, prompt_id: str) -> PromptState:
        """Where the prompt stands: one question where the server can answer it in one, else queue, then history.

        In the other order, one that ends in between would be missed.
        """
        if (await self.server()).at_least(0, 6, 0):
            state = await self._job_state(prompt_id)
            if state is not None:
                return state
        if (queued := (await self.queue()).state(prompt_id)) is not None:
            return queued
        return PromptState.ABSENT if await self.result(prompt_id) is None else PromptState.FINISHED

    async def _job_state(self, prompt_id: str) -> PromptState | None:
        """The answer of `/api/jobs`, or None when it is not clear (no such endpoint, a word that we do not know)."""
        answer = await self._transport.get(f"/api/jobs/{quote(prompt_id, safe='')}")
        job = answer.loose_json()
        if answer.status == 404 and job.get("error") == MISSING_JOB:
            return PromptState.ABSENT
        return JOB_STATES.get(as_text(job.get("status"))) if answer.status == 200 else None

    async def result(self, prompt_id: str) -> Result | None:
        """The result from the history; None while it is not there, or not any more."""
        answer = await self._transport.get(f"/history/{quote(prompt_id, safe='')}")
        return read_history(answer.expect_ok("GET /history").json(), prompt_id)

    async def queue(self) -> QueueState:
        """What runs and what waits."""
        return QueueState.from_json((await self._transport.get("/queue")).expect_ok("GET /queue").json())

    async def wait(
        self,
        prompt_id: str,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        no_progress_timeout: float | None = None,
        queue_timeout: float | None = None,
        run_timeout: float | None = None,
        poll: float = 1.0,
    ) -> Result:
        """Wait until the prompt is over; its result if it ended well.

        Raises ExecutionFailed (OutOfMemory), PromptInterrupted, PromptLost, PromptStalled (QueueTimeout, RunTimeout,
        WorkerDead), or ComfyUIUnavailable when the server is gone for a few looks in a row. `on_progress` gets the
        newest progress, not every step. One waiter per prompt; waiting for a prompt that an earlier process submitted
        works as well.
        """
        self._feed.start()
        waiting = Waiting(
            prompt_id,
            questions=self,
            listener=self._feed.listener(prompt_id),
            patience=self.patience,
            poll=poll,
            no_progress_timeout=no_progress_timeout,
            on_progress=on_progress,
            queue_timeout=queue_timeout,
            run_timeout=run_timeout,
        )
        result = await waiting.outcome()
        self._feed.forget(prompt_id)
        if result.error is not None:
            raise result.error
        return result

    def lost(self, prompt_id: str) -> PromptLost:
        """The error of a prompt that is absent after a while without the server: had it begun to run?"""
        return lost(begun=self.has_begun(prompt_id))

    def has_begun(self, prompt_id: str) -> bool:
        """Whether the prompt was seen running, and not seen to end."""
        return self._feed.listener(prompt_id).begun

    async def fetch(self, output: OutputRef, target: Path) -> int:
        """Write an output file to `target`; its size. OutputMissing when it is gone, empty or cut off."""
        params = {"filename": output.filename, "subfolder": output.subfolder, "type": output.type}
        return await self._transport.download("/view", params, target)

    async def interrupt(self, prompt_id: str) -> None:
        """Stop the prompt if it is the one that runs; never another one."""
        if not (await self.server()).at_least(0, 3, 57) and prompt_id not in (await self.queue()).running:
            return  # an older server stops whatever runs
        (await self._transport.post("/interrupt", {"prompt_id": prompt_id})).expect_ok("POST /interrupt")

    async def cancel(self, prompt_id: str) -> None:
        """Take the prompt out of the queue, or stop it if it runs; no other prompt is touched."""
        self._feed.listener(prompt_id).cancelled = True
        (await self._transport.post("/queue", {"delete": [prompt_id]})).expect_ok("POST /queue")
        await self.interrupt(prompt_id)

    async def free(self, *, unload_models: bool = True, free_memory: bool = True) -> None:
        """Give memory back before the next prompt; `free_memory` also makes it read replaced model files anew."""
        body = {"unload_models": unload_models, "free_memory": free_memory}
        (await self._transport.post("/free", body)).expect_ok("POST /free")
