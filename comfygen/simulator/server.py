"""The server: everything a simulated ComfyUI is made of, its worker, and the port it listens on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from comfygen.simulator.catalogue import Catalogue
from comfygen.simulator.control import Control
from comfygen.simulator.execution import Engine
from comfygen.simulator.faults import Fault, Faults, Moment
from comfygen.simulator.folders import Folders
from comfygen.simulator.journal import Journal, Posted, text_of
from comfygen.simulator.queue import Item, PromptQueue
from comfygen.simulator.sockets import MAX_BODY, Hub, Voice, status


class Simulator:
    """A ComfyUI stand-in: `async with Simulator() as simulator: … simulator.url`.

    `step_seconds` is how long a sampler step takes, `history_gap` how long the history entry comes after
    `execution_success`. `models` replaces the file lists of model folders. `log` is a file that gets a JSON line for
    every accepted prompt and for every start and end of a run. Larger bodies than `max_body` bytes are refused.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        step_seconds: float = 0.0,
        history_gap: float = 0.0,
        models: Mapping[str, Sequence[str]] | None = None,
        log: Path | None = None,
        max_body: int = MAX_BODY,
        faults: Iterable[Fault | Mapping[str, Any]] = (),
    ) -> None:
        self.host, self.port, self.history_gap = host, port, history_gap
        self.faults, self.journal = Faults(faults), Journal(log)
        self.folders = Folders()
        self.catalogue = Catalogue(self.folders, models)
        self.max_body = max_body
        self.hub = Hub()
        self.hub.features["max_upload_size"] = max_body
        self.queue = PromptQueue(self._changed)
        self.engine = Engine(self.catalogue, step_seconds=step_seconds)
        self.number = 0
        self.free_wanted = False
        self._control: Control | None = None
        self._worker: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def posted(self) -> list[Posted]:
        """Every accepted POST /prompt, in order."""
        return self.journal.posted

    @property
    def working(self) -> bool:
        """Whether the worker lives; it dies of two waiting prompts that cannot be told apart."""
        return self._worker is not None and not self._worker.done()

    async def __aenter__(self) -> Self:
        from comfygen.simulator.routes import application  # its handlers know this class

        self.engine.lose = self._lose
        self._runner = web.AppRunner(application(self), access_log=None, shutdown_timeout=1.0)
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError:
            await self._close()
            raise
        self.port = self._runner.addresses[0][1]
        self._worker = asyncio.create_task(self._work(), name="simulator-worker")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._worker:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        self.hub.abort()
        if self._runner:
            await self._runner.cleanup()
        await asyncio.to_thread(self.engine.threads.shutdown)
        self.folders.remove()
        self.journal.close()

    def _lose(self) -> None:
        """Restart, but not from within the run that is to be lost."""
        asyncio.get_running_loop().call_soon(self.restart)

    def restart(self) -> None:
        """What a restart of ComfyUI does: queue, history, cache, previews, sockets and the running prompt are gone."""
        if self._worker:
            self._worker.cancel()
        self.queue.lose()
        self.engine.forget()
        self.folders.forget_temp()
        self.hub.abort()
        self._control = None
        self._worker = asyncio.create_task(self._work(), name="simulator-worker")

    def interrupt(self, prompt_id: object = None) -> bool:
        """Stop what runs, if it is that prompt (None: whatever it is); whether anything was stopped."""
        running = self.queue.running and self._control is not None
        if not running or (prompt_id is not None and self.queue.running[0].prompt_id != prompt_id):
            return False
        if self._control:
            self._control.interrupt()
        return True

    def free(self) -> None:
        """Forget all cached nodes, as soon as nothing runs."""
        if self.queue.running:
            self.free_wanted = True
        else:
            self.engine.forget()

    def _changed(self) -> None:
        self.hub.send("status", status(self.queue.remaining))

    async def _work(self) -> None:
        """Run one prompt after the other. A TypeError of the queue ends it for good, as it ends ComfyUI's thread."""
        while True:
            while not self.queue.pending or self.faults.has("dead_worker"):
                self.queue.wake.clear()
                await self.queue.wake.wait()
            try:
                item = self.queue.take()
            except TypeError:
                return
            await self._run(item)

    async def _run(self, item: Item) -> None:
        faults = self.faults.take(Moment.RUN, text_of(item.graph)) if self.faults.expects(Moment.RUN) else {}
        voice = Voice(self.hub, item.prompt_id, item.client_id, faults)
        self.hub.client, self._control = item.client_id, Control()
        self.journal.started(item.prompt_id)
        try:
            outcome = await self.engine.run(item, voice, self._control, faults)
        except asyncio.CancelledError:
            self.journal.ended(item.prompt_id, "lost")
            raise
        self.journal.ended(item.prompt_id, outcome.status, outcome.samplers)
        late = faults["late_history"].seconds if "late_history" in faults else self.history_gap
        await asyncio.sleep(late)
        self._control = None
        self.queue.finish(item, outcome.entry())
        voice.at(None)
        if self.free_wanted:
            self.free_wanted = False
            self.engine.forget()
