"""Heritage: outputs of a job that another service has published already, before this one took the request over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from comfygen.errors import StoreError
from comfygen.generation import MAX_SIDECAR_BYTES
from comfygen.sidecar import base_name, object_key, output_key
from comfygen.store import Store
from comfygend.ledger import Job, Output


@dataclass(frozen=True, kw_only=True)
class Heritage:
    """Looks into the store for what a job of an inherited request has made already."""

    store: Store

    async def of(self, job: Job) -> list[Output]:
        """The published outputs of a job, if they are whole and made from the very same graph; else nothing."""
        sample = object_key(
            stamp=job.stamp.astimezone(UTC),
            name=base_name(output=job.request.output, workflow=job.plan.workflow),
            job=job.id,
            n=None,
            ext="x",
        )
        keys = [stored.key async for stored in self.store.list(sample.removesuffix(".x"))]
        sidecars = [await self._read(key) | {"key": output_key(key)} for key in keys if output_key(key) in keys]
        same = sorted((told for told in sidecars if told.get("graph_sha256") == job.plan.graph_sha256), key=_place)
        whole = bool(same) and len(same) == _count(same[0])
        numbered = all(_place(told) == n for n, told in enumerate(same, start=1))
        return [_output(n, told) for n, told in enumerate(same, start=1)] if whole and numbered else []

    async def _read(self, key: str) -> dict[str, Any]:
        try:
            body, _ = await self.store.get(key, max_bytes=MAX_SIDECAR_BYTES)
            told = json.loads(body)
        except (StoreError, ValueError, RecursionError) as exc:
            if isinstance(exc, StoreError) and exc.retryable:
                raise
            return {}
        return told if isinstance(told, dict) and _makes_sense(told) else {}


def _makes_sense(told: dict[str, Any]) -> bool:
    """Whether what a sidecar says of its output can be believed: somebody may have edited it."""
    texts = all(isinstance(told.get(name), str) for name in ("output_node", "media_type", "sha256"))
    sizes = [told.get("bytes"), *(told.get(name, 0) or 0 for name in ("width", "height", "frames"))]
    fps = told.get("fps") or 0
    return (
        texts
        and all(type(size) is int and 0 <= size < 2**63 for size in sizes)
        and type(fps) in (int, float)
        and 0 <= fps < 2**31
    )


def _batch(told: dict[str, Any], name: str) -> int:
    batch = told.get("batch")
    number = batch.get(name) if isinstance(batch, dict) else None
    return number if isinstance(number, int) else 0


def _place(told: dict[str, Any]) -> int:
    """Which of its job's outputs this is; 0 if the sidecar does not tell."""
    return _batch(told, "image")


def _count(told: dict[str, Any]) -> int:
    """How many outputs its job has."""
    return _batch(told, "images")


def _output(n: int, told: dict[str, Any]) -> Output:
    return Output(
        n=n,
        node=told["output_node"],
        path="",
        key=told["key"],
        media_type=told["media_type"],
        bytes=told["bytes"],
        sha256=told["sha256"],
        width=told.get("width"),
        height=told.get("height"),
        frames=told.get("frames"),
        fps=told.get("fps"),
    )
