"""BucketInbox: request objects under a prefix of a bucket, shared by as many services as one likes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from comfygen.errors import InboxError, NoSuchKey, StoreError
from comfygen.minio_client import ConditionalWrites, MinioStore
from comfygen.store import Hint, Stored
from comfygend.bell import Bell
from comfygend.inbox import Ending, Inbox, InboxItem
from comfygend.inbox.cabinet import Cabinet
from comfygend.inbox.claims import FOLDER, Claims
from comfygend.inbox.drops import MAX_REQUEST_BYTES, DropRefused
from comfygend.inbox.names import is_request_name, printable
from comfygend.ledger import Arrival, RequestRow
from comfygend.retry import backoff

log = logging.getLogger(__name__)
LONGEST_WAIT = 30.0
PENDING_SECONDS = 1.0


def object_id(prefix: str, key: str, etag: str, modified: str) -> str:
    """The id of a request object, the same at every service that sees it: 26 characters of base32."""
    digest = hashlib.sha256("\0".join((prefix, key, etag, modified)).encode()).digest()
    return base64.b32encode(digest)[:26].decode().lower()


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
        self._looked = False

    @property
    def shared(self) -> bool:
        """Whether claims are worth anything on this server."""
        return self.writes is ConditionalWrites.SAFE

    # -- finding --------------------------------------------------------------------------------------------------

    async def items(self) -> AsyncGenerator[InboxItem, None]:
        watch = asyncio.create_task(self._watch(), name=f"{self.name} watch")
        failures = 0
        try:
            while True:
                seen = self._bell.rings
                try:
                    await self._probe()
                    async for item in self._look():
                        yield item
                    failures, self.trouble = 0, None
                except StoreError as exc:
                    failures += 1
                    self.trouble = str(exc)
                    log.log(logging.WARNING if failures == 1 else logging.DEBUG, "%s: %s", self.name, exc)
                    await asyncio.sleep(backoff(failures, random.random(), longest=LONGEST_WAIT))
                    continue
                self._looked = True
                lease_third = self.claims.lease / 3
                wait = min(self.rescan_seconds, lease_third) if self._waiting else self.rescan_seconds
                await self._bell.after(seen, wait)
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        """Ring whenever the store hints at a change below the prefix."""
        failures = 0
        while True:
            try:
                async with self._listen() as hints:
                    self._bell.ring()
                    async for _ in hints:
                        failures = 0
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

    async def _look(self) -> AsyncIterator[InboxItem]:
        """Claim and read every request object that is not known yet."""
        waiting, present = 0, set[str]()
        async for stored in self.store.list_direct(self.prefix):
            name = stored.key.removeprefix(self.prefix)
            if not is_request_name(name):
                continue
            request = self._id(stored)
            present.add(request)
            if request in self._done or request in self.claims.held:
                continue
            fence = await self._claim(request, stored.key)
            if fence is None:
                waiting += 1
                continue
            item = await self._item(request, stored, name, inherited=fence > 1)
            if item is None:
                await self._let_go(request)
            else:
                self._done.add(request)
                yield item
        self._done &= present
        self._waiting = waiting
        await self._sweep(present)

    def _id(self, stored: Stored) -> str:
        modified = stored.modified.isoformat() if stored.modified else ""
        return object_id(self.prefix, stored.key, stored.etag, modified)

    async def _claim(self, request: str, key: str) -> int | None:
        if not self.shared:
            return 1
        claim = await self.claims.acquire(request, key)
        return claim.fence if claim else None

    async def _let_go(self, request: str) -> None:
        if self.shared:
            await self.claims.release(request)

    async def _item(self, request: str, stored: Stored, name: str, *, inherited: bool) -> InboxItem | None:
        """The item of an object that we have claimed; None when it is gone, or was put away already."""
        if self.cabinet.after == "keep" and request in [told async for told in self.cabinet.reported(printable(name))]:
            self._done.add(request)
            return None
        identity = f"{stored.key}\n{stored.etag}"
        refusal = None
        body = b""
        if stored.size > MAX_REQUEST_BYTES:
            refusal = DropRefused(f"It has {stored.size:,} bytes; a request has at most {MAX_REQUEST_BYTES:,}.")
        else:
            try:
                body, now = await self.store.get(stored.key, max_bytes=MAX_REQUEST_BYTES)
            except NoSuchKey:
                return None
            if now.etag != stored.etag:
                return None  # replaced in this moment: the next look finds the new one
        arrival = Arrival(
            inbox=self.name,
            name=printable(name),
            body=body,
            identity=identity,
            id=request,
            stamp=stored.modified,
            inherited=inherited,
        )
        return InboxItem(arrival=arrival, handle=stored.key, refusal=refusal)

    async def _sweep(self, present: set[str]) -> None:
        """Release claims of ours whose object is gone and whose request nobody works on."""
        if not self.shared:
            return
        async for stored in self.store.list_direct(FOLDER):
            request = stored.key.removeprefix(FOLDER).removesuffix(".json")
            if request in present or request in self.claims.held:
                continue
            found = await self.claims.look(request)
            if found is not None and found.owner == self.claims.owner:
                await self.claims.release(request)

    def is_empty(self) -> bool:
        return self._looked and not self._waiting and self.trouble is None

    # -- claiming and putting away --------------------------------------------------------------------------------

    async def claim(self, item: InboxItem, request_id: str) -> None:
        """Nothing: the object was claimed before it was read, and its claim outlives a crash."""

    async def decline(self, item: InboxItem) -> None:
        request = str(item.arrival.id)
        await self._let_go(request)
        self._done.discard(request)

    async def reclaim(self, row: RequestRow) -> None:
        if self.shared and await self.claims.acquire(row.id, row.identity.partition("\n")[0]) is None:
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
            except StoreError as exc:
                if not exc.retryable:
                    raise
                self.trouble = str(exc)
                break
            del self._unseen[row.id]
        return lost

    async def _resumed(self, row: RequestRow) -> bool:
        key, _, etag = row.identity.partition("\n")
        found = await self.claims.look(row.id)
        if found is None and row.ended_at is not None:
            return True  # put away but for the last step
        if found is None:
            try:
                if (await self.store.head(key)).etag != etag:
                    return False
            except NoSuchKey:
                return False  # another service has ended it
        return await self.claims.acquire(row.id, key) is not None

    async def recover(self, row: RequestRow) -> None:
        """Nothing: objects are not moved before they are put away."""

    async def is_ours(self, request_id: str) -> bool:
        return not self.shared or request_id in self._unseen or await self.claims.is_ours(request_id)

    async def keep(self) -> None:
        """Renew our claims, three times per lease, until cancelled; what is lost is withdrawn."""
        while True:
            await asyncio.sleep(self.claims.lease / 3)
            if self._unseen:
                for request in await self.resume(list(self._unseen.values())):
                    await self._on_lost(request)
            for request in list(self.claims.held):
                try:
                    if not await self.claims.renew(request):
                        log.warning("request %s was taken over by another service", request)
                        await self._on_lost(request)
                except StoreError as exc:
                    log.debug("%s: %s", self.name, exc)
                    break

    async def file(self, ending: Ending) -> None:
        key, _, etag = ending.identity.partition("\n")
        if not await self.is_ours(ending.request_id) and not await self._unclaimed(ending.request_id):
            log.warning("request %s: another service puts it away", ending.request_id)
            return
        await self.cabinet.put_away(ending, key, etag, await self._body_of(ending.request_id))
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
        }
