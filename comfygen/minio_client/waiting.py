"""Waiting for the first of several things, by a clock that is given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import TypeVar

from comfygen.minio_client.settings import Timing

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T], timing: Timing) -> T | None:
    """What the work gives, None when it takes longer than so many seconds of the given clock."""
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(timing.sleep(seconds))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        await _ended(task, alarm)


async def until_failure(*work: Coroutine[object, object, None]) -> None:
    """Run side by side until one fails (or all have ended); the others are cancelled, and its error is raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        await _ended(*tasks)


async def _ended(*tasks: asyncio.Future[T] | asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
