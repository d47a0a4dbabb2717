"""Sidecars: as many as one likes of those that the service writes, each of another output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from comfygen.lora import Lora
from comfygen.sidecar import Made, make_sidecar, object_key
from comfygend.ledger import job_id
from tests.making import plan, request

START = datetime(2026, 1, 4, 1, 10, 32, tzinfo=UTC)
LORAS = (Lora(name="detail-tweaker.safetensors", strength=0.8), Lora(name="film-grain.safetensors", strength=0.4))


def sidecars(count: int) -> Iterator[tuple[str, bytes]]:
    """Keys of outputs, one second apart, and the bytes of their sidecars."""
    asked = request(loras=LORAS, tags=("benchmark",), project="lakes")
    planned = plan(asked)
    for n in range(count):
        made = _made(n)
        key = object_key(stamp=made.created, name="flux-dev", job=made.job_id, n=None, ext=".png")
        one = replace(planned, prompt=f"a mountain lake at dawn, number {n}", seed=n)
        url = f"http://127.0.0.1:9000/comfy-gen/{key}"
        yield key, make_sidecar(plan=one, key=key, url=url, request=asked, made=made).to_bytes()


def _made(n: int) -> Made:
    return Made(
        request_id=f"{n:026}",
        job_id=job_id(f"{n:026}", 0),
        batch_index=1,
        batch_of=1,
        image_index=1,
        image_of=1,
        node="7",
        media_type="image/png",
        bytes=7,
        sha256=f"{n:064x}",
        width=64,
        height=64,
        frames=None,
        fps=None,
        created=START + timedelta(seconds=n),
        timings={"queued_at": START.isoformat(), "run_seconds": 4.2},
        attempts=1,
        backend="http://127.0.0.1:8188",
        comfyui_version="0.28.1",
        simulated=False,
    )
