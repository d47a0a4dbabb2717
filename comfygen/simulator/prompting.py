"""Prompting: POST /prompt, and the endpoints around the queue and the history."""

from __future__ import annotations

import time
import uuid
from typing import Any

from aiohttp import web

from comfygen.graph import Graph
from comfygen.simulator.answers import answer, broken, done
from comfygen.simulator.faults import Moment
from comfygen.simulator.journal import text_of
from comfygen.simulator.queue import Item
from comfygen.simulator.server import Simulator
from comfygen.simulator.validation import Unforeseen, Verdict, problem, validate

BAD_ID = problem(
    "invalid_prompt_id",
    "prompt_id must be a valid UUID",
    "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one",
    {},
)
NO_PROMPT = problem("no_prompt", "No prompt provided", "No prompt provided", {})


class Prompting:
    """The handlers, over one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def post_prompt(self, request: web.Request) -> web.StreamResponse:
        """Validate and queue. What ComfyUI's own code stumbles over is a bare 500, as there."""
        try:
            body = await request.json()
            return self._queued(request, body)
        except (ValueError, TypeError, AttributeError, RecursionError, Unforeseen):
            return broken()

    def _queued(self, request: web.Request, body: Any) -> web.StreamResponse:
        number = self._number(body)
        if "prompt" not in body:
            return _refused(NO_PROMPT)
        prompt_id = body.get("prompt_id")
        if prompt_id is not None and not _is_canonical(prompt_id):
            return _refused(BAD_ID)
        prompt_id = prompt_id or str(uuid.uuid4())
        verdict = validate(body["prompt"], self.simulator.catalogue, body.get("partial_execution_targets"))
        if verdict.error:
            return _refused(verdict.error, verdict.node_errors)
        faults = self._faults(body["prompt"])
        if "partial_validation" in faults:
            _drop_last(verdict)
        self._put(number, prompt_id, verdict, body)
        if "lost_ack" in faults and request.transport is not None:
            request.transport.abort()
        return answer({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    def _number(self, body: Any) -> float:
        """The place in the queue; the counter goes on for refused prompts too."""
        if "number" in body:
            return float(body["number"])
        number = self.simulator.number
        self.simulator.number += 1
        return -number if isinstance(body, dict) and body.get("front") else number

    def _faults(self, graph: Graph) -> dict[str, Any]:
        faults = self.simulator.faults
        return dict(faults.take(Moment.POST, text_of(graph))) if faults.expects(Moment.POST) else {}

    def _put(self, number: float, prompt_id: str, verdict: Verdict, body: dict[str, Any]) -> None:
        extra = {**body.get("extra_data", {})}
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        extra["create_time"] = int(time.time() * 1000)
        item = Item(number, prompt_id, verdict.graph, extra, verdict.outputs)
        self.simulator.journal.accepted(prompt_id, body["prompt"], item.client_id)
        self.simulator.queue.put(item)

    async def get_prompt(self, _: web.Request) -> web.Response:
        return answer({"exec_info": {"queue_remaining": self.simulator.queue.remaining}})

    async def get_queue(self, _: web.Request) -> web.Response:
        queue = self.simulator.queue
        return answer({"queue_running": queue.running, "queue_pending": queue.pending})

    async def post_queue(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            if body.get("clear"):
                self.simulator.queue.clear()
            for prompt_id in body.get("delete", ()):
                self.simulator.queue.delete(prompt_id)
        except (ValueError, TypeError, AttributeError):
            return broken()
        return done()

    async def get_history(self, request: web.Request) -> web.Response:
        try:
            most = int(request.query["max_items"]) if "max_items" in request.query else None
            offset = int(request.query.get("offset", -1))
        except ValueError:
            return broken()
        return answer(self.simulator.queue.recent(most, offset))

    async def get_history_of(self, request: web.Request) -> web.Response:
        prompt_id, history = request.match_info["prompt_id"], self.simulator.queue.history
        return answer({prompt_id: history[prompt_id]} if prompt_id in history else {})

    async def post_history(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            if body.get("clear"):
                self.simulator.queue.history.clear()
            self.simulator.queue.forget(body.get("delete", ()))
        except (ValueError, TypeError, AttributeError):
            return broken()
        return done()

    async def interrupt(self, request: web.Request) -> web.Response:
        """With a `prompt_id` only that prompt, without one whatever runs; a body that is no JSON counts as none."""
        try:
            body = await request.json()
        except ValueError:
            body = {}
        self.simulator.interrupt(body.get("prompt_id") if isinstance(body, dict) else None)
        return done()

    async def free(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            if body.get("free_memory"):
                self.simulator.free()
        except (ValueError, AttributeError):
            return broken()
        return done()


def _refused(error: dict[str, Any], node_errors: dict[str, Any] | None = None) -> web.Response:
    return answer({"error": error, "node_errors": node_errors or {}}, status=400)


def _is_canonical(prompt_id: object) -> bool:
    try:
        return isinstance(prompt_id, str) and str(uuid.UUID(prompt_id)) == prompt_id
    except ValueError:
        return False


def _drop_last(verdict: Verdict) -> None:
    """Say of the last output node that it is invalid, and leave it out."""
    *verdict.outputs, last = verdict.outputs
    error = problem("required_input_missing", "Required input is missing", "simulated", {"input_name": "simulated"})
    name = verdict.graph[last]["class_type"]
    verdict.node_errors = {last: {"errors": [error], "dependent_outputs": [last], "class_type": name}}
