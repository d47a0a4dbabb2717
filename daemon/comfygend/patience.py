"""Patience: while the ledger cannot be written, whoever wants something of it waits, and the board says why."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from comfygend.board import Board
from comfygend.ledger import Ledger, LedgerAway
from comfygend.retry import backoff
from comfygend.threads import OnThread

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
R = TypeVar("R")


class PatientLedger(OnThread[Ledger]):
    """The ledger on its thread. A full or read-only disk, or somebody's lock, delays a call, and never fails it.

    Each call is one transaction of which nothing has happened when it fails, so that it may be made again. Intake,
    workers and publisher all write before they go on: while nothing can be written, all of them stand still.
    """

    def __init__(
        self, opener: Callable[[], Ledger], board: Board, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        super().__init__("ledger", opener)
        self._board, self._sleep, self._waiting = board, sleep, 0

    async def __call__(self, work: Callable[[Ledger], R]) -> R:
        """Run `work` with the ledger on its thread, as often as it takes. Raises LedgerError for what does not pass."""
        try:
            return await super().__call__(work)
        except LedgerAway as exc:
            self._tell(exc)
        self._waiting += 1
        try:
            return await self._again(work)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._board.well("ledger")

    async def _again(self, work: Callable[[Ledger], R]) -> R:
        failures = 1
        while True:
            await self._sleep(backoff(failures, 0.5 + random.random() / 2, first=FIRST_WAIT, longest=LONGEST_WAIT))
            try:
                return await super().__call__(work)
            except LedgerAway as exc:
                self._tell(exc)
            failures += 1

    def _tell(self, exc: LedgerAway) -> None:
        hint = f"{exc.hint} Nothing new is taken or sent meanwhile, and nothing is lost."
        self._board.trouble("ledger", exc.message, hint)
