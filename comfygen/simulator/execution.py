"""Execution: one prompt from start to end over the node cache, telling of each step in ComfyUI's order."""

from __future__ import annotations

import asyncio
import random
import string
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from comfygen.graph import Graph, as_link, class_of, inputs_of
from comfygen.simulator import nodes
from comfygen.simulator.catalogue import Catalogue
from comfygen.simulator.control import Control, Interrupted
from comfygen.simulator.faults import Fault
from comfygen.simulator.ordering import Order, sources
from comfygen.simulator.queue import Item
from comfygen.simulator.reports import Progress, failure
from comfygen.simulator.saving import SAVERS, Entry, Press, save, texts
from comfygen.simulator.sockets import Voice
from comfygen.simulator.values import Call, NodeFailed, Value, digest_of

OUT_OF_MEMORY = (
    "Allocation on device 0 would exceed allowed memory. (out of memory)\n"
    "This error means you ran out of memory on your GPU.\n\n"
    "TIPS: If the workflow worked before you might have accidentally set the batch_size to a large number."
)


@dataclass(kw_only=True)
class Outcome:
    """How a run ended. `samplers` counts the samplers that ran through: the GPU's work."""

    status: str = "success"
    outputs: dict[str, Entry] = field(default_factory=dict)
    messages: list[list[Any]] = field(default_factory=list)
    samplers: int = 0

    def entry(self) -> dict[str, Any]:
        """The history entry, but for the prompt itself."""
        good = self.status == "success"
        status = {"status_str": "success" if good else "error", "completed": good, "messages": self.messages}
        described = {
            node: {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node}
            for node in self.outputs
        }
        return {"outputs": self.outputs, "status": status, "meta": described}


@dataclass(frozen=True, kw_only=True)
class Cached:
    """What a node returned and showed, kept by the signature of all that went into it."""

    values: tuple[Value, ...]
    entry: Entry | None


class Engine:
    """Runs prompts one after the other. `lose` is called by the fault that restarts the server."""

    def __init__(self, catalogue: Catalogue, *, step_seconds: float = 0.0) -> None:
        self.catalogue, self.step_seconds = catalogue, step_seconds
        self.lose: Callable[[], None] = lambda: None
        self.threads = ThreadPoolExecutor(1, thread_name_prefix="simulator")
        self.cache: dict[str, Cached] = {}
        self.temp_name = ""
        self.forget()

    def forget(self) -> None:
        """Empty the cache; previews get a new name, as with new node objects."""
        self.cache = {}
        self.temp_name = "ComfyUI_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))

    async def run(self, item: Item, voice: Voice, control: Control, faults: Mapping[str, Fault]) -> Outcome:
        return await _Run(self, item, voice, control, faults).run()


def _as_known(graph: Graph, catalogue: Catalogue) -> Graph:
    """The graph without the inputs that its classes do not have: they may point anywhere, and nobody checks them."""
    known = {}
    for node, body in graph.items():
        names = {slot.name for slot in catalogue.slots(body["class_type"])}
        inputs = {name: value for name, value in inputs_of(graph, node).items() if name in names}
        known[node] = {**body, "inputs": inputs}
    return known


class _Run:
    """One prompt on its way."""

    def __init__(self, engine: Engine, item: Item, voice: Voice, control: Control, faults: Mapping[str, Fault]) -> None:
        self.engine, self.item, self.voice, self.control = engine, item, voice, control
        self.faults = dict(faults)
        self.graph = _as_known(item.graph, engine.catalogue)
        self.outcome = Outcome()
        self.progress = Progress(voice)
        self.executed: list[str] = []
        self.node = ""
        self.call: Call | None = None
        self.signatures: dict[str, str] = {}
        self._used: set[str] = set()

    async def run(self) -> Outcome:
        self._note("execution_start", {})
        for output in self.item.outputs:
            self._sign(output)
        self._used = set(self.signatures.values())
        cached = [node for node in self.graph if self.signatures.get(node) in self.engine.cache]
        empty = "cached_empty" in self.faults
        self._note("execution_cached", {"nodes": list(self.graph) if empty else cached})
        try:
            if not empty:
                await self._nodes(Order(self.graph, self.item.outputs, frozenset(cached)))
        except NodeFailed as exc:
            self.outcome.status = "error"
            report = failure(exc, self.call, self._standing())
            self._note("execution_error", report | {"current_outputs": list(self.graph)})
        except Interrupted:
            self.outcome.status = "interrupted"
            self._note("execution_interrupted", self._standing(), shout=True)
        else:
            self._note("execution_success", {})
        return self.outcome

    def _standing(self) -> dict[str, Any]:
        return {"node_id": self.node, "node_type": class_of(self.graph, self.node), "executed": self.executed}

    def _note(self, event: str, data: dict[str, Any], *, shout: bool = False) -> None:
        """An `execution_*` message: to the client, and into the history."""
        told = {"prompt_id": self.item.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self.outcome.messages.append([event, told])
        (self.voice.shout if shout else self.voice.tell)(event, told)

    async def _nodes(self, order: Order) -> None:
        while (node := order.next()) is not None:
            self.node, self.call = node, None
            await self.control.pause()
            cached = self.engine.cache.get(self.signatures[node])
            if cached is None:
                self.progress.start(node)
                self.voice.at(node)
                cached = self.engine.cache[self.signatures[node]] = await self._node(node)
                self.executed.append(node)
                self._show(node, cached)
            else:
                await self._trouble(node)
                self._show(node, cached, also_nothing=True)
            self.progress.finish(node)
            self._forget_others()

    def _forget_others(self) -> None:
        """Drop what this prompt does not use: the cache keeps one prompt's nodes, from its first finished node on."""
        known = self.engine.cache
        if not known.keys() <= self._used:
            self.engine.cache = {key: known[key] for key in self._used if key in known}

    def _show(self, node: str, cached: Cached, *, also_nothing: bool = False) -> None:
        if cached.entry is not None:
            self.outcome.outputs[node] = cached.entry
        if cached.entry is not None or also_nothing:
            told = {"node": node, "display_node": node, "output": cached.entry, "prompt_id": self.item.prompt_id}
            self.voice.tell("executed", told)

    async def _node(self, node: str) -> Cached:
        call = self.call = self._call(node)
        for slot in self.engine.catalogue.slots(call.name):
            if not slot.is_literal and slot.name in call.inputs:
                call.value(slot.name)  # validation lets a plain value pass where a link belongs
        await self._trouble(node)
        if call.name in SAVERS:
            press = Press(
                folders=self.engine.catalogue.folders,
                texts=texts(self.item.graph, self.item.extra_data),
                temp_name=self.engine.temp_name,
            )
            entry = await self._in_thread(save, call, press)
            passed = [value for value in call.inputs.values() if isinstance(value, Value)]
            return Cached(values=(*passed, Value(digest=call.digest()))[:1], entry=entry)
        if call.name in nodes.SAMPLERS:
            await self._sample(node, nodes.steps_of(call))
        values = await self._in_thread(nodes.run, call, self.engine.catalogue.folders)
        self.outcome.samplers += call.name in nodes.SAMPLERS
        return Cached(values=values, entry=None)

    async def _in_thread(self, function: Callable[..., Any], call: Call, *more: Any) -> Any:
        """Run what opens or writes files beside the event loop, all else at once."""
        if call.name not in SAVERS and call.name not in nodes.READERS:
            return function(call, *more)
        return await asyncio.get_running_loop().run_in_executor(self.engine.threads, function, call, *more)

    async def _sample(self, node: str, steps: int) -> None:
        for step in range(1, steps + 1):
            await self.control.pause(self.engine.step_seconds)
            self.progress.step(node, step, steps)

    def _call(self, node: str) -> Call:
        name = class_of(self.graph, node)
        inputs = {}
        for key, value in inputs_of(self.graph, node).items():
            link = as_link(value)
            inputs[key] = value if link is None else self.engine.cache[self.signatures[link.node]].values[link.slot]
        return Call(node=node, name=name, inputs=inputs, returns=tuple(self.engine.catalogue.returns(name)))

    def _sign(self, node: str) -> None:
        """The signature of a node and of all it needs: equal signatures give equal outputs, so they run once."""
        if node in self.signatures:
            return
        for source in sources(self.graph, node):
            self._sign(source)
        name, inputs = class_of(self.graph, node), inputs_of(self.graph, node)
        linked = ((key, value, as_link(value)) for key, value in inputs.items())
        plain = {key: value if link is None else [self.signatures[link.node], link.slot] for key, value, link in linked}
        place = node if name == "VHS_VideoCombine" else ""  # it asks for its own node id
        changed = nodes.is_changed(name, inputs, self.engine.catalogue.folders)
        self.signatures[node] = digest_of(name, plain, place, changed)

    async def _trouble(self, node: str) -> None:
        """What the faults do to a run, at its first sampler or output node."""
        if not self.faults or not (class_of(self.graph, node) in nodes.SAMPLERS or node in self.item.outputs):
            return
        faults, self.faults = self.faults, {}
        if "slow" in faults:
            await self.control.pause(faults["slow"].seconds)
        if "stall" in faults:
            await self.control.pause(None)
        if "lose_queue" in faults:
            self.engine.lose()
            await self.control.pause(None)
        if "execution_error" in faults:
            raise NodeFailed("RuntimeError", faults["execution_error"].message)
        if "oom" in faults:
            raise NodeFailed("torch.OutOfMemoryError", OUT_OF_MEMORY)
