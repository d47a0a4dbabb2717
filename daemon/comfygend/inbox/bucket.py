"""BucketInbox: request objects under a prefix of a bucket, shared by as many services as one likes."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from comfygen.errors import InboxError, NoSuchKey, StoreError
from comfygen.minio_client import ConditionalWrites, MinioStore
from comfygen.store import Change, Hint
from comfygend.bell import Bell
from comfygend.inbox import Ending, Inbox, InboxItem
from comfygend.inbox.cabinet import Cabinet
from comfygend.inbox.claims import FOLDER, Claims
from comfygend.inbox.names import printable, request_name
from comfygend.inbox.objects import RequestObject, Shelf, place_of
from comfygend.ledger import Arrival, RequestRow
from comfygend.retry import backoff

log = logging.getLogger(__name__)
LONGEST_WAIT = 30.0
PENDING_SECONDS = 1.0


class BucketInbox(Inbox):
    """Request objects under `prefix`. With safe conditional writes several services share it, else one alone."""

    def __init__(
        self,
        store: MinioStore,
        prefix: str,
        *,
        owner: str,
        lease: float,
        after: str = "move",
        rescan_seconds: float = 30,
        listen: Callable[[], AbstractAsyncContextManager[AsyncIterator[Hint]]] | None = None,
        body_of: Callable[[str], Awaitable[bytes]],
        on_lost: Callable[[str], Awaitable[None]],
    ) -> None:
        self.store, self.prefix, self.rescan_seconds = store, prefix, rescan_seconds
        self.name = f"bucket:{store.settings.bucket}/{prefix}"
        self.shelf = Shelf(store, prefix)
        self.claims = Claims(bucket=store, owner=owner, lease=lease, clock=time.monotonic)
        self.cabinet = Cabinet(store=store, prefix=prefix, after=after)
        self.writes: ConditionalWrites | None = None
        self.trouble: str | None = None
        self._listen = listen or (lambda: store.listen(prefix))
        self._body_of, self._on_lost = body_of, on_lost
        self._bell = Bell()
        self._done: set[str] = set()
        self._unseen: dict[str, RequestRow] = {}
        self._waiting = 0
        self.looks = 0

    @property
    def shared(self) -> bool:
        """Whether claims are worth anything on this server."""
        return self.writes is ConditionalWrites.SAFE

    # -- finding --------------------------------------------------------------------------------------------------

    async def items(self) -> AsyncGenerator[InboxItem, None]:
        watch = asyncio.create_task(self._watch(), name=f"{self.name} watch")
        watch.add_done_callback(lambda _: self._bell.ring())
        failures, rang = 0, False
        try:
            while True:
                if watch.done():
                    watch.result()  # it has no end: what it died of ends the inbox, too
                seen = self._bell.rings
                try:
                    await self._probe()
                    async for item in self._look(sweep=not rang):
                        yield item
                    failures, self.trouble = 0, None
                except StoreError as exc:
                    failures += 1
                    self.trouble = str(exc)
                    self.claims.start_over()
                    log.log(logging.WARNING if failures == 1 else logging.DEBUG, "%s: %s", self.name, exc)
                    await asyncio.sleep(backoff(failures, random.random(), longest=LONGEST_WAIT))
                    continue
                self.looks += 1
                lease_third = self.claims.lease / 3
                wait = min(self.rescan_seconds, lease_third) if self._waiting else self.rescan_seconds
                rang = await self._bell.after(seen, wait)
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        """Ring whenever the store hints at a change of a request object."""
        failures = 0
        while True:
            try:
                async with self._listen() as hints:
                    self._bell.ring()
                    async for hint in hints:
                        failures = 0
                        if hint.change is Change.RECONCILE or request_name(self.prefix, hint.key):
                            self._bell.ring()
            except StoreError as exc:
                log.debug("%s: %s", self.name, exc)
            failures += 1
            await asyncio.sleep(backoff(failures, random.random(), longest=LONGEST_WAIT))

    async def _probe(self) -> None:
        """Ask once what this server's conditional writes are worth."""
        if self.writes is None:
            self.writes = await self.store.probe_conditional(f"{self.claims.owner}-{random.getrandbits(32):08x}")
            if not self.shared:
                log.warning("%s: conditional writes are %s here: one service only", self.name, self.writes)

    async def _look(self, *, sweep: bool) -> AsyncIterator[InboxItem]:
        """Claim and read every request object that is not known yet; `sweep` the claims, too."""
        waiting, present = 0, set[str]()
        async for found in self.shelf.objects():
            present.add(found.id)
            if found.id in self._done:
                continue
            fence = await self._claim(found)
            if fence is None:
                waiting += 1
                continue
            item = await self._item(found, inherited=fence > 1)
            if item is None:
                await self._let_go(found.id)
            else:
                self._done.add(found.id)
                yield item
        self._done &= present
        self.claims.forget_gone(present)
        self._waiting = waiting
        if sweep:
            await self._sweep(present)

    async def _claim(self, found: RequestObject) -> int | None:
        """The fence of our claim, which we have already if the object could not be read before; None: no claim."""
        if not self.shared:
            return 1
        held = self.claims.held.get(found.id)
        claim = held.claim if held else await self.claims.acquire(found.id, found.key)
        return claim.fence if claim else None

    async def _let_go(self, request: str) -> None:
        self._unseen.pop(request, None)
        if self.shared:
            await self.claims.release(request)

    async def _item(self, found: RequestObject, *, inherited: bool) -> InboxItem | None:
        """The item of an object that we have claimed; None when it is gone, or was put away already."""
        if self.cabinet.after == "keep" and await self.cabinet.has_ended(found.name, found.id):
            self._done.add(found.id)
            return None
        body = b"" if found.refusal else await self.shelf.read(found)
        if body is None:
            return None
        arrival = Arrival(
            inbox=self.name,
            name=printable(found.name),
            body=body,
            identity=found.identity,
            id=found.id,
            stamp=found.modified,
            inherited=inherited,
        )
        return InboxItem(arrival=arrival, handle=found.key, refusal=found.refusal)

    async def _sweep(self, present: set[str]) -> None:
        """Release claims of ours whose object is gone and whose request nobody works on."""
        if not self.shared:
            return
        async for stored in self.store.list_direct(FOLDER):
            request = stored.key.removeprefix(FOLDER).removesuffix(".json")
            if request in present or request in self.claims.held or request in self._unseen:
                continue
            found = await self.claims.look(request)
            if found is not None and found.owner == self.claims.owner:
                await self.claims.release(request)

    def is_empty(self) -> bool:
        return self.looks > 0 and not self._waiting and self.trouble is None

    # -- claiming and putting away --------------------------------------------------------------------------------

    async def claim(self, item: InboxItem, request_id: str) -> None:
        """Nothing: the object was claimed before it was read, and its claim outlives a crash."""

    async def decline(self, item: InboxItem) -> None:
        request = str(item.arrival.id)
        await self._let_go(request)
        self._done.discard(request)

    async def reclaim(self, row: RequestRow) -> None:
        if self.shared and await self.claims.acquire(row.id, place_of(row.identity)[0]) is None:
            raise InboxError(f"Another service has request {row.id} now.", hint="Ask that one.")

    async def resume(self, rows: Sequence[RequestRow]) -> list[str]:
        """Take up our claims again after a restart; gives the requests that are somebody else's by now.

        While the store is away nobody can have taken them over: they count as ours, and are looked at again later.
        """
        lost: list[str] = []
        self._done |= {row.id for row in rows}
        self._unseen = {row.id: row for row in rows}
        for row in rows:
            try:
                await self._probe()
                if self.shared and not await self._resumed(row):
                    lost.append(row.id)
                    self._done.discard(row.id)
            except StoreError as exc:
                if not exc.retryable:
                    raise
                self.trouble = str(exc)
                break
            self._unseen.pop(row.id, None)
        return lost

    async def _resumed(self, row: RequestRow) -> bool:
        key, etag = place_of(row.identity)
        if await self.claims.look(row.id) is None:
            if row.ended_at is not None:
                return True  # put away but for the last step
            if not await self._is_left_to_us(row.id, key, etag):
                return False
        return await self.claims.acquire(row.id, key) is not None

    async def _is_left_to_us(self, request: str, key: str, etag: str) -> bool:
        """Whether an object that nobody claims still lies there, and no other service has ended it."""
        try:
            if (await self.store.head(key)).etag != etag:
                return False
        except NoSuchKey:
            return False
        return self.cabinet.after != "keep" or not await self.cabinet.has_ended(self._name(key), request)

    def _name(self, key: str) -> str:
        return key.removeprefix(self.prefix)

    async def recover(self, row: RequestRow) -> None:
        """Nothing: objects are not moved before they are put away."""

    async def is_ours(self, request_id: str) -> bool:
        if not self.shared or request_id in self._unseen or await self.claims.is_ours(request_id):
            return True
        self._done.discard(request_id)  # whoever has it now may fall silent as well
        return False

    async def keep(self) -> None:
        """Renew our claims, three times per lease, until cancelled; what is lost is withdrawn."""
        while True:
            await asyncio.sleep(self.claims.lease / 3)
            try:
                for request in await self.resume(list(self._unseen.values())) if self._unseen else ():
                    await self._on_lost(request)
                await self._renew()
            except StoreError as exc:
                log.debug("%s: %s", self.name, exc)

    async def _renew(self) -> None:
        for request in list(self.claims.held):
            if request in self.claims.held and not await self.claims.renew(request):
                log.warning("request %s was taken over by another service", request)
                await self._on_lost(request)
                self._done.discard(request)

    async def file(self, ending: Ending) -> None:
        key, etag = place_of(ending.identity)
        if not await self.is_ours(ending.request_id) and not await self._unclaimed(ending.request_id):
            log.warning("request %s: another service puts it away", ending.request_id)
            return
        told = replace(ending, name=self._name(key))  # as it is called here; what the ledger has is for people's eyes
        await self.cabinet.put_away(told, key, etag, await self._body_of(ending.request_id))
        await self._let_go(ending.request_id)
        if self.cabinet.after != "keep":
            self._done.discard(ending.request_id)

    async def _unclaimed(self, request: str) -> bool:
        """Whether nobody has a claim on it: then it is ours to finish."""
        return await self.claims.look(request) is None

    def strays(self, known: set[str]) -> list[str]:
        return []

    def status(self) -> dict[str, object]:
        mode = "unknown yet" if self.writes is None else "shared" if self.shared else f"single service ({self.writes})"
        return {
            "inbox": self.name,
            "state": self.trouble or "watching",
            "mode": mode,
            "claims": len(self.claims.held),
            "waiting_for_others": self._waiting,
            "left_alone": len(self.shelf.odd),
        }
