"""Intake: from a complete file in an inbox to jobs with plans in the ledger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from comfygen.errors import ComfyGenError, InboxError, InvalidInput
from comfygen.pipeline import Kitchen, prepare, seeds
from comfygen.request import parse_cancel
from comfygend.bell import Bell
from comfygend.board import Board
from comfygend.failpoints import Point, failpoint
from comfygend.inbox import Inbox, InboxItem
from comfygend.inbox.drops import DropRefused
from comfygend.ledger import Ledger, NewJob, RequestRow, RequestState, Switch, Withdrawn
from comfygend.threads import OnThread

log = logging.getLogger(__name__)
RETRY_SECONDS = 10.0
DRAINING_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Takes requests out of one inbox.

    `bell` rings for every request that was accepted or refused; `again` is rung for one that is to be prepared anew.
    """

    inbox: Inbox
    ledger: OnThread[Ledger]
    kitchen: Kitchen
    bell: Bell
    board: Board
    new_id: Callable[[], str]
    again: Bell = field(default_factory=Bell)
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    hindered: set[str] = field(default_factory=set)
    waiting: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Take every complete file, now and from now on, until cancelled."""
        await self._recover()
        while True:
            await self._until_open()
            async with aclosing(self.inbox.items()) as items:  # left while draining, so that it looks anew afterwards
                async for item in items:
                    if not await self._tried(item):
                        break

    async def _tried(self, item: InboxItem) -> bool:
        """Take an item; False when nothing is to be taken. Of several that cannot be, the first is the trouble."""
        name, taken = item.arrival.name, True
        try:
            taken = await self.take(item)
        except InboxError as exc:
            if not self._hindered(name):
                self.board.trouble(self.inbox.name, exc.message, exc.hint)
            self.hindered.add(name)
        else:
            if not self._hindered(name):
                self.board.well(self.inbox.name)
        return taken

    def _hindered(self, name: str) -> bool:
        """Whether others than this one lie in the inbox that could not be taken."""
        self.hindered.discard(name)
        self.hindered.intersection_update(self.inbox.stuck())
        return bool(self.hindered)

    async def _until_open(self) -> None:
        """Wait while nothing new is to be taken."""
        while True:
            seen = self.bell.rings
            if not await self.ledger(lambda ledger: ledger.orders.is_on(Switch.DRAINING)):
                return
            await self.bell.after(seen, DRAINING_SECONDS)

    async def _forget(self, row: RequestRow) -> None:
        """What cannot be taken out of the inbox is not ours: it stays where it is, and is found there again."""
        await self.ledger(lambda ledger: ledger.requests.forget(row.id))

    async def _recover(self) -> None:
        """Finish what a crash interrupted: claims first, then preparations."""
        for row in await self.ledger(lambda ledger: ledger.requests.unclaimed(self.inbox.name)):
            try:
                await self.inbox.recover(row)
            except InboxError as exc:
                await self._forget(row)
                self.board.trouble(self.inbox.name, exc.message, exc.hint)
            else:
                await self._claimed(row)
        await self._accept_received()

    async def retry(self) -> None:
        """Prepare again, from time to time, what waits for a store that was away (an input image in it, say)."""
        while True:
            seen = self.again.rings
            await self._accept_received()
            await self.again.after(seen, RETRY_SECONDS)

    async def _accept_received(self) -> None:
        rows = await self.ledger(lambda ledger: ledger.requests.received(self.inbox.name))
        for request in self.waiting.keys() - {row.id for row in rows}:  # cancelled, or another service's
            self.board.well(f"request {self.waiting.pop(request)}")
        for row in rows:
            body = await self._body(row)
            async with self.one_at_a_time:
                await self._accept(row, body)

    async def _claimed(self, row: RequestRow) -> None:
        await self.ledger(lambda ledger: ledger.requests.claimed(row.id))

    async def _body(self, row: RequestRow) -> bytes:
        return await self.ledger(lambda ledger: ledger.requests.body(row.id))

    async def take(self, item: InboxItem) -> bool:
        """Receive, claim, prepare: each step durable before the next begins. False while nothing new is to be taken.

        Raises InboxError if it cannot be ours.
        """
        row = await self.ledger(lambda ledger: self._received(ledger, item))
        if row is None:
            await self.inbox.decline(item)
            return False
        failpoint(Point.RECEIVED)
        refusal: ComfyGenError | None = item.refusal
        try:
            await self.inbox.claim(item, row.id)
        except DropRefused as exc:
            refusal = exc
        except InboxError:
            await self._forget(row)
            raise
        failpoint(Point.CLAIMED)
        async with self.one_at_a_time:  # before `retry` sees a claimed row whose refusal it does not know
            await self._claimed(row)
            await self._accept(row, item.arrival.body, refusal)
        return True

    def _received(self, ledger: Ledger, item: InboxItem) -> RequestRow | None:
        """The item in the ledger; None, and nothing written, while draining."""
        if ledger.orders.is_on(Switch.DRAINING):
            return None
        return ledger.requests.receive(item.arrival, self.new_id())

    async def _accept(self, row: RequestRow, body: bytes, refusal: ComfyGenError | None = None) -> None:
        now = await self.ledger(lambda ledger: ledger.requests.get(row.id))
        if now.claimed and now.state is RequestState.RECEIVED:
            with self.kitchen.inputs.holding():
                try:
                    await self._decide(row, body, refusal)
                except Withdrawn as exc:
                    log.info("request %s (%s) is given up: %s", row.id, row.name, exc)

    async def _decide(self, row: RequestRow, body: bytes, refusal: ComfyGenError | None) -> None:
        try:
            if refusal is not None:
                raise refusal
            if (unwanted := parse_cancel(body, file=row.name)) is not None:
                await self._cancel(row, unwanted)
                return
            prepared = await prepare(body, file=row.name, kitchen=self.kitchen, draw=seeds(row.id))
        except ComfyGenError as error:
            if error.retryable:
                self.waiting[row.id] = row.name
                self.board.trouble(f"request {row.name}", error.message, error.hint)
                return
            log.info("request %s (%s) refused: %s", row.id, row.name, _headline(error))
            plain = error.to_json()
            await self.ledger(lambda ledger: ledger.requests.reject(row.id, plain))
        else:
            jobs = [
                NewJob(request=each.request, plan=each.plan, batch_index=each.batch_index, batch_of=each.batch_of)
                for each in prepared
            ]
            await self.ledger(lambda ledger: ledger.requests.accept(row.id, jobs))
            failpoint(Point.ACCEPTED)
            log.info("request %s (%s) accepted: %d jobs", row.id, row.name, len(jobs))
        self.waiting.pop(row.id, None)
        self.board.well(f"request {row.name}")
        self.bell.ring()

    async def _cancel(self, row: RequestRow, unwanted: str) -> None:
        by = f"request {row.id} ({row.name})"
        done = await self.ledger(lambda ledger: ledger.orders.cancel(unwanted, by=by, answering=row.id))
        log.info("request %s (%s): %s", row.id, row.name, done.told())
        self.bell.ring()


def _headline(error: ComfyGenError) -> str:
    problems = error.problems if isinstance(error, InvalidInput) else ()
    return str(problems[0]) if problems else error.message
