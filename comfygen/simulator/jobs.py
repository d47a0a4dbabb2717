"""Jobs: `/api/jobs`, ComfyUI's one view over queue and history."""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from comfygen.simulator.answers import answer
from comfygen.simulator.queue import Item
from comfygen.simulator.server import Simulator

Job = dict[str, Any]
STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")


class BadQuery(Exception):
    """A query that ComfyUI refuses; the text is its answer."""


class Jobs:
    """The handlers, over one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def listed(self, request: web.Request) -> web.Response:
        try:
            return answer(self._page(dict(request.query)))
        except BadQuery as exc:
            return answer({"error": str(exc)}, status=400)

    def _page(self, query: dict[str, str]) -> dict[str, Any]:
        statuses, limit, offset = _statuses(query), _limit(query), max(0, _integer(query, "offset", 0))
        jobs = sorted(self._all(), key=_sorting(query), reverse=query.get("sort_order", "desc") == "desc")
        chosen = [job for job in jobs if job["status"] in statuses and _belongs(job, query.get("workflow_id"))]
        end = None if limit is None else offset + limit
        more = end is not None and end < len(chosen)
        pagination = {"offset": offset, "limit": limit, "total": len(chosen), "has_more": more}
        return {"jobs": chosen[offset:end], "pagination": pagination}

    def _all(self) -> list[Job]:
        queue = self.simulator.queue
        waiting = [_brief(item, "pending") for item in queue.pending]
        running = [_brief(item, "in_progress") for item in queue.running]
        return [*waiting, *running, *(_ended(entry) for entry in queue.history.values())]

    async def one(self, request: web.Request) -> web.Response:
        prompt_id, queue = request.match_info["job_id"], self.simulator.queue
        for status, items in (("in_progress", queue.running), ("pending", queue.pending)):
            for item in items:
                if item.prompt_id == prompt_id:
                    return answer(_brief(item, status))
        if prompt_id not in queue.history:
            return answer({"error": "Job not found"}, status=404)
        entry = queue.history[prompt_id]
        workflow = {"prompt": entry["prompt"][2], "extra_data": entry["prompt"][3]}
        more = {"outputs": entry["outputs"], "execution_status": entry["status"], "workflow": workflow}
        return answer(_ended(entry) | more)

    async def cancel(self, request: web.Request) -> web.Response:
        return answer({"cancelled": self._cancelled(request.match_info["job_id"])})

    async def cancel_many(self, request: web.Request) -> web.Response:
        try:
            ids = (await request.json())["job_ids"]
        except (ValueError, TypeError, KeyError):
            return answer({"error": "job_ids is required"}, status=400)
        if not isinstance(ids, list):
            return answer({"error": "job_ids must be a list"}, status=400)
        if invalid := [value for value in ids if not _is_uuid(value)]:
            return answer({"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}, status=400)
        cancelled = [self._cancelled(value) for value in ids]
        return answer({"cancelled": any(cancelled)})

    def _cancelled(self, prompt_id: str) -> bool:
        return self.simulator.queue.delete(prompt_id) or self.simulator.interrupt(prompt_id)


def _brief(item: Item, status: str) -> Job:
    job = {
        "id": item.prompt_id,
        "status": status,
        "priority": item.number,
        "create_time": item.extra_data["create_time"],
        "outputs_count": 0,
    }
    return job | _workflow_id(item)


def _workflow_id(item: Item) -> Job:
    info = item.extra_data.get("extra_pnginfo")
    workflow = info.get("workflow") if isinstance(info, dict) else None
    known = isinstance(workflow, dict) and workflow.get("id") is not None
    return {"workflow_id": workflow["id"]} if known and workflow else {}


def _ended(entry: dict[str, Any]) -> Job:
    item = Item(*entry["prompt"])
    messages = dict(entry["status"]["messages"])
    last = entry["status"]["messages"][-1][1]
    cancelled, failed = "execution_interrupted" in messages, "execution_error" in messages
    job = _brief(item, "cancelled" if cancelled else "failed" if failed else "completed")
    times = {"execution_start_time": messages["execution_start"]["timestamp"], "execution_end_time": last["timestamp"]}
    error = {"execution_error": messages["execution_error"]} if failed else {}
    return job | times | error | _outputs(entry["outputs"])


def _outputs(outputs: dict[str, Any]) -> Job:
    files = [
        file | {"nodeId": node, "mediaType": key}
        for node, entry in outputs.items()
        for key, files in entry.items()
        for file in files
        if isinstance(file, dict)
    ]
    return {"outputs_count": len(files)} | ({"preview_output": files[0]} if files else {})


def _statuses(query: dict[str, str]) -> tuple[str, ...]:
    wanted = tuple(query["status"].split(",")) if query.get("status") else STATUSES
    if unknown := [status for status in wanted if status not in STATUSES]:
        raise BadQuery(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
    return wanted


def _limit(query: dict[str, str]) -> int | None:
    if "limit" not in query:
        return None
    if (limit := _integer(query, "limit", 0)) < 1:
        raise BadQuery("limit must be a positive integer")
    return limit


def _integer(query: dict[str, str], name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError:
        raise BadQuery(f"{name} must be an integer") from None


def _sorting(query: dict[str, str]) -> Any:
    order = query.get("sort_by", "created_at")
    if order not in ("created_at", "execution_duration"):
        raise BadQuery("sort_by must be 'created_at' or 'execution_duration'")
    return _created if order == "created_at" else _duration


def _created(job: Job) -> tuple[int, float]:
    return job["create_time"], job["priority"]


def _duration(job: Job) -> int:
    return int(job.get("execution_end_time", 0) - job.get("execution_start_time", 0))


def _belongs(job: Job, workflow_id: str | None) -> bool:
    return workflow_id is None or job.get("workflow_id") == workflow_id


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False
