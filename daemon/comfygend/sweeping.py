"""Sweeping: multipart uploads that a crash cut off are aborted, so that their parts cost no space for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from comfygen.errors import StoreError

if TYPE_CHECKING:
    from comfygen.minio_client import MinioStore

log = logging.getLogger(__name__)
OLD = timedelta(days=1)
EVERY_SECONDS = 6 * 3600.0
RETRY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Sweeping:
    """Sweeps one bucket at the start and a few times a day. Only uploads below our prefix, older than a day."""

    store: MinioStore
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def run(self) -> None:
        """Sweep again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS if await self.sweep() else RETRY_SECONDS)

    async def sweep(self) -> bool:
        """Whether the store could be asked; without the right to, there is nothing more to do today."""
        try:
            if swept := await self.store.sweep_multipart(self.now() - OLD):
                log.info("%d abandoned uploads were aborted", swept)
        except StoreError as exc:
            log.debug("abandoned uploads cannot be looked for: %s", exc)
            return not exc.retryable
        return True
