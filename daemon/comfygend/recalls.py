"""Recalls: prompts of cancelled jobs are taken back from their backend, by their ids and none other."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from comfygen.errors import ComfyUIError, ComfyUIUnavailable
from comfygend.backends import Backend
from comfygend.bell import Bell
from comfygend.ledger import Ledger
from comfygend.threads import OnThread

log = logging.getLogger(__name__)
IDLE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Recalls:
    """Tells one backend; what it could not be told is in the ledger until it can."""

    backend: Backend
    ledger: OnThread[Ledger]
    bell: Bell

    async def run(self) -> None:
        """Take back what is to be taken back, now and from now on, until cancelled."""
        while True:
            seen = self.bell.rings
            await self.backend.reached.wait()
            for prompt in await self.ledger(lambda ledger: ledger.orders.recalls(self.backend.name)):
                if await self._told(prompt):
                    await self.ledger(lambda ledger: ledger.orders.recalled(prompt))  # noqa: B023
            await self.bell.after(seen, IDLE_SECONDS)

    async def _told(self, prompt: str) -> bool:
        try:
            await self.backend.client.cancel(prompt)
        except ComfyUIUnavailable as exc:
            self.backend.lost(exc)
            return False
        except ComfyUIError as exc:
            log.warning("%s did not cancel prompt %s: %s", self.backend.name, prompt, exc)
            return False
        log.info("%s was told to cancel prompt %s", self.backend.name, prompt)
        return True
