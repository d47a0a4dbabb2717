"""Jobs in a real ledger, as far along as a test needs them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfygen.sidecar import object_key
from comfygend.bell import Bell
from comfygend.board import Board
from comfygend.ledger import Job, Ledger, NewJob, Output, RequestRow
from comfygend.spool import Spool
from comfygend.threads import OnThread
from tests import making

BACKEND = "http://a:8188"


@dataclass(frozen=True, kw_only=True)
class Office:
    """A ledger, a spool, a bell and a board."""

    folder: Path
    ledger: OnThread[Ledger]
    spool: Spool
    bell: Bell = field(default_factory=Bell)
    board: Board = field(default_factory=Board)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def accepted(self, *jobs: NewJob) -> tuple[Job, ...]:
        """A request with these jobs, queued."""
        request = f"r{next(self.numbers)}"
        ids = await self.ledger(lambda ledger: _accepted(ledger, request, jobs))
        return tuple([await self.job(job) for job in ids])

    async def generated(self, *contents: bytes, **asked: Any) -> Job:
        """A job of its own request, whose outputs lie in the spool."""
        (queued,) = await self.accepted(making.new_job(**asked))
        job = await self.ledger(lambda ledger: ledger.jobs.take(BACKEND))
        assert job is not None
        assert job.id == queued.id
        outputs = [self.output(job, n, content, len(contents)) for n, content in enumerate(contents, start=1)]
        await self.ledger(lambda ledger: ledger.jobs.generated(job.id, outputs, {"run_seconds": 1.5}))
        return await self.job(job.id)

    def output(self, job: Job, n: int, content: bytes, of: int) -> Output:
        """An output of a job, its file in the spool."""
        path = self.spool.folder / job.id / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return Output(
            n=n,
            node="9",
            path=f"{job.id}/{n}.png",
            key=object_key(stamp=job.stamp, name="lake", job=job.id, n=n if of > 1 else None, ext="png"),
            media_type="image/png",
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            width=8,
            height=8,
            frames=None,
            fps=None,
        )

    async def job(self, job: str) -> Job:
        return await self.ledger(lambda ledger: ledger.jobs.get(job))

    async def request(self, job: Job) -> RequestRow:
        return await self.ledger(lambda ledger: ledger.requests.get(job.request_id))

    async def story(self, subject: str) -> list[str]:
        """The states that a job or a request has been in."""
        sql = "SELECT after FROM transitions WHERE subject = ? ORDER BY id"
        return await self.ledger(lambda ledger: [row["after"] for row in ledger.pages.all(sql, [subject])])


def _accepted(ledger: Ledger, request: str, jobs: tuple[NewJob, ...]) -> tuple[str, ...]:
    ledger.requests.receive(making.arrival(identity=request), request)
    ledger.requests.claimed(request)
    return ledger.requests.accept(request, jobs)


@asynccontextmanager
async def office(folder: Path) -> AsyncIterator[Office]:
    """A ledger and a spool in a folder; opened again, they hold what they held."""
    async with OnThread("ledger", lambda: Ledger.open(folder / "queue.db")) as ledger:
        numbers = itertools.count(await ledger(lambda ledger: ledger.pages.number("SELECT count(*) FROM requests")))
        yield Office(folder=folder, ledger=ledger, spool=Spool(folder / "spool"), numbers=numbers)
