"""Small honest values for tests: requests, plans and jobs made by the real code from the real workflows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from comfygen.images import png_bytes
from comfygen.plan import InputImage, Plan, make_plan
from comfygen.request import Request
from comfygen.resources import Library
from comfygend.ledger import Arrival, NewJob

LIBRARY = Library()
TEXT = b"workflow: flux-dev\nprompt: a mountain lake at dawn\nwidth: 64\nheight: 64\nsteps: 2\nseed: 7\n"


def request(**asked: Any) -> Request:
    """A request for a small picture of a lake."""
    return Request(**{"workflow": "flux-dev", "prompt": "a mountain lake at dawn", "seed": 7, **asked})


def plan(asked: Request | None = None) -> Plan:
    """What that request runs."""
    asked = asked or request()
    workflow = LIBRARY.workflow(asked.workflow)
    return make_plan(asked, workflow=workflow, presets=LIBRARY.presets(), seed=asked.seed or 0, input_image=None)


def new_job(**asked: Any) -> NewJob:
    """A job about to enter the ledger."""
    made = request(**asked)
    return NewJob(request=made, plan=plan(made), batch_index=0, batch_of=1)


def arrival(name: str = "lake.yaml", body: bytes = TEXT, identity: str = "1:1") -> Arrival:
    """A request file that was found in an inbox."""
    return Arrival(inbox="folder:/inbox", name=name, body=body, identity=identity)


def picture(width: int = 8, height: int = 8, colour: tuple[int, int, int] = (20, 120, 200)) -> bytes:
    """A PNG of one colour."""
    return png_bytes(bytes(colour) * (width * height), width, height)


def clock(start: datetime = datetime(2026, 1, 4, 1, 10, 32, tzinfo=UTC)) -> Iterator[datetime]:
    """Times one second apart."""
    return (start + timedelta(seconds=n) for n in itertools.count())


def img2img(name: str) -> NewJob:
    """A job that starts from a prepared image of this name."""
    asked = request(workflow="sd15-img2img", input_image="car.png", steps=2)
    image = InputImage(source="car.png", name=name, sha256="0" * 64, width=64, height=64)
    workflow = LIBRARY.workflow(asked.workflow)
    made = make_plan(asked, workflow=workflow, presets=LIBRARY.presets(), seed=7, input_image=image)
    return NewJob(request=asked, plan=made, batch_index=0, batch_of=1)
