"""Claims: which service works on a request object, when several share a prefix.

A claim is an object of its own, created only where there is none, with its owner's token. It is kept alive by being
overwritten; one that has not changed for a lease, by the looker's own clock, is taken over with a higher fence. Clocks
of different machines are never compared.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Protocol

from comfygen.errors import NoSuchKey, PreconditionFailed, StoreError
from comfygen.store import Stored

log = logging.getLogger(__name__)
FOLDER = ".comfygen/claims/"
MAX_BYTES = 64 * 1024


class Bucket(Protocol):
    """The store, as far as claims need it."""

    async def put(self, key: str, body: bytes, *, content_type: str, if_none_match: bool = False) -> Stored: ...

    async def put_if_match(self, key: str, body: bytes, etag: str) -> Stored: ...

    async def get(self, key: str, *, max_bytes: int | None = None) -> tuple[bytes, Stored]: ...

    async def delete(self, key: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim as it stands in the bucket."""

    owner: str
    fence: int
    beat: int
    object: str
    etag: str

    def body(self) -> bytes:
        told = {"owner": self.owner, "fence": self.fence, "beat": self.beat, "object": self.object}
        return json.dumps(told, ensure_ascii=True).encode()


@dataclass
class Held:
    """A claim of ours, and when it was last renewed by our own clock."""

    claim: Claim
    renewed: float


@dataclass
class Claims:
    """The claims of one service. `owner` is its token, the same after every restart; `clock` is monotonic."""

    bucket: Bucket
    owner: str
    lease: float
    clock: Callable[[], float]
    held: dict[str, Held] = field(default_factory=dict)
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)

    async def acquire(self, request: str, name: str) -> Claim | None:
        """Claim a request object; None while somebody else has it. `fence` > 1: it was somebody else's before."""
        claim = Claim(owner=self.owner, fence=1, beat=0, object=name, etag="")
        try:
            stored = await self.bucket.put(
                _key(request), claim.body(), content_type="application/json", if_none_match=True
            )
        except PreconditionFailed:
            return await self._from_another(request)
        return self._hold(request, claim, stored.etag)

    async def _from_another(self, request: str) -> Claim | None:
        """Take a claim over that is ours already, or whose owner has been silent for a lease."""
        found = await self.look(request)
        if found is None:
            return None  # released in this moment: the next look tells whether there is still something to do
        if found.owner != self.owner and not self._is_silent(request, found):
            return None
        fence = found.fence + int(found.owner != self.owner)
        claim = Claim(owner=self.owner, fence=fence, beat=found.beat + 1, object=found.object, etag="")
        try:
            stored = await self.bucket.put_if_match(_key(request), claim.body(), found.etag)
        except (PreconditionFailed, NoSuchKey):
            return None
        if fence > found.fence:
            log.warning("request %s: taken over from a service that was silent for %.0f s", request, self.lease)
        return self._hold(request, claim, stored.etag)

    def _is_silent(self, request: str, found: Claim) -> bool:
        etag, since = self._seen.get(request, ("", 0.0))
        if etag != found.etag:
            self._seen[request] = (found.etag, self.clock())
            return False
        return self.clock() - since > self.lease

    def forget_gone(self, present: Set[str]) -> None:
        """Of requests that are not there any more, nobody's silence is counted."""
        self._seen = {request: seen for request, seen in self._seen.items() if request in present}

    def start_over(self) -> None:
        """Begin to count silence anew: while the store was away, nobody could renew a claim."""
        self._seen.clear()

    def _hold(self, request: str, claim: Claim, etag: str) -> Claim:
        kept = Claim(owner=claim.owner, fence=claim.fence, beat=claim.beat, object=claim.object, etag=etag)
        self.held[request] = Held(claim=kept, renewed=self.clock())
        self._seen.pop(request, None)
        return kept

    async def look(self, request: str) -> Claim | None:
        """The claim of a request as it stands; None when there is none."""
        try:
            body, stored = await self.bucket.get(_key(request), max_bytes=MAX_BYTES)
        except NoSuchKey:
            return None
        return read_claim(body, stored.etag)

    async def renew(self, request: str) -> bool:
        """Keep a claim of ours alive; False when it is lost. Raises StoreError while the store is away."""
        held = self.held.get(request)
        if held is None:
            return False
        old = held.claim
        new = Claim(owner=old.owner, fence=old.fence, beat=old.beat + 1, object=old.object, etag="")
        try:
            stored = await self.bucket.put_if_match(_key(request), new.body(), old.etag)
        except (PreconditionFailed, NoSuchKey):
            # Our own renewal, perhaps, whose acknowledgement was lost and which was sent again.
            return await self._is_still_ours(request, held, new)
        if self.held.get(request) is held:
            self._hold(request, new, stored.etag)
        return True

    async def _is_still_ours(self, request: str, held: Held, new: Claim) -> bool:
        found = await self.look(request)
        if self.held.get(request) is not held:
            return True  # released by ourselves meanwhile, or renewed
        if found is not None and (found.owner, found.fence) == (new.owner, new.fence):
            self._hold(request, found, found.etag)
            return True
        self.held.pop(request, None)
        return False

    async def is_ours(self, request: str) -> bool:
        """Whether a claim may be relied on now: renewed within the lease, or renewed here and now.

        While the store is away nobody can take a claim over either, so it is relied on.
        """
        held = self.held.get(request)
        if held is None:
            return False
        if self.clock() - held.renewed < self.lease / 2:
            return True
        try:
            return await self.renew(request)
        except StoreError as exc:
            if exc.retryable:
                return True
            raise

    async def release(self, request: str) -> None:
        """The request is put away: nobody needs the claim any more."""
        self.held.pop(request, None)
        self._seen.pop(request, None)
        await self.bucket.delete(_key(request))


def read_claim(body: bytes, etag: str) -> Claim:
    """A claim from its object; one that cannot be read belongs to nobody we know, and falls to whoever waits."""
    try:
        told = json.loads(body)
        return Claim(
            owner=str(told["owner"]),
            fence=int(told["fence"]),
            beat=int(told["beat"]),
            object=str(told["object"]),
            etag=etag,
        )
    except (ValueError, KeyError, TypeError):
        return Claim(owner="?", fence=1, beat=0, object="", etag=etag)


def _key(request: str) -> str:
    return f"{FOLDER}{request}.json"
