"""An intake over a real folder and a real ledger, for as long as a test needs it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from comfygen.pipeline import Kitchen
from comfygend.inbox.folder import FolderInbox
from comfygend.inputs import SpooledInputs
from comfygend.intake import Intake
from comfygend.ledger import Job, RequestRow, RequestState
from tests import making
from tests.integration.comfygend.indexing import running, until
from tests.integration.comfygend.jobs import Office, office
from tests.integration.comfygend.memory import MemoryStore


@dataclass(frozen=True, kw_only=True)
class Door:
    """An intake over a real folder and a real ledger."""

    office: Office
    inbox: FolderInbox
    intake: Intake
    inputs: SpooledInputs
    store: MemoryStore

    def drop(self, name: str, body: bytes = making.TEXT) -> None:
        (self.inbox.folder / f".{name}.part").write_bytes(body)
        (self.inbox.folder / f".{name}.part").rename(self.inbox.folder / name)

    async def rows(self) -> list[RequestRow]:
        """All requests in the ledger."""
        sql = "SELECT id FROM requests ORDER BY id"
        return await self.office.ledger(
            lambda ledger: [ledger.requests.get(row["id"]) for row in ledger.pages.all(sql)]
        )

    async def jobs(self, row: RequestRow) -> list[Job]:
        return await self.office.ledger(lambda ledger: ledger.jobs.of_request(row.id))

    async def decided(self, count: int = 1) -> list[RequestRow]:
        """Take what was dropped, until so many requests are accepted or have failed."""

        async def all_decided() -> bool:
            rows = await self.rows()
            return len(rows) == count and all(row.state is not RequestState.RECEIVED for row in rows)

        async with running([self.intake.run()]):
            await until(all_decided)
        return await self.rows()

    async def decided_again(self) -> list[RequestRow]:
        """Take what was moved back, until every request is accepted again."""

        async def all_accepted() -> bool:
            return {row.state for row in await self.rows()} == {RequestState.ACCEPTED}

        async with running([self.intake.run()]):
            await until(all_accepted)
        return await self.rows()


@asynccontextmanager
async def door(folder: Path) -> AsyncIterator[Door]:
    async with office(folder) as made:
        inbox = FolderInbox(folder / "requests", rescan_seconds=0.2, settle_seconds=0.05)
        inbox.prepare()
        store = MemoryStore()
        inputs = SpooledInputs(folder / "inputs", allowed=[inbox.folder], store=store)
        numbers = itertools.count(
            await made.ledger(lambda ledger: ledger.pages.number("SELECT count(*) FROM requests"))
        )
        intake = Intake(
            inbox=inbox,
            ledger=made.ledger,
            kitchen=Kitchen(library=making.LIBRARY, inputs=inputs),
            bell=made.bell,
            board=made.board,
            new_id=lambda: f"r{next(numbers)}",
        )
        yield Door(office=made, inbox=inbox, intake=intake, inputs=inputs, store=store)
