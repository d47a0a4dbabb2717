"""Turn: jobs are posted in the order in which they were taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from comfygend.ledger import Job


class Turn:
    """Whoever has taken a job has the turn until it is posted, or given up; only then the next one is taken."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._job: str | None = None

    async def take(self, source: Callable[[], Awaitable[Job | None]]) -> Job | None:
        """A job of the source, and the turn with it; None, and no turn, when there is no job."""
        await self._lock.acquire()
        job = None
        try:
            job = await source()
        finally:
            self._job = job.id if job else None
            if job is None:
                self._lock.release()
        return job

    def end(self, job: Job) -> None:
        """The next job may be taken. Nothing happens for a job that has no turn, or none any more."""
        if self._job == job.id:
            self._job = None
            self._lock.release()
