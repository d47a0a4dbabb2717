"""Request objects: which objects below a prefix are requests, what they are called everywhere, and what is in them."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from comfygen.errors import NoSuchKey
from comfygen.minio_client import MinioStore
from comfygen.store import Stored, key_problems
from comfygend.inbox.drops import MAX_REQUEST_BYTES, DropRefused
from comfygend.inbox.names import printable, request_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RequestObject:
    """A request object of a listing. Its `id` is the same at every service that sees it."""

    id: str
    key: str
    name: str
    etag: str
    size: int
    modified: datetime | None

    @property
    def identity(self) -> str:
        """What the ledger remembers of it."""
        return f"{self.key}\n{self.etag}"

    @property
    def refusal(self) -> DropRefused | None:
        """Why it can never be a request, whatever is in it."""
        if self.size <= MAX_REQUEST_BYTES:
            return None
        return DropRefused(f"It has {self.size:,} bytes; a request has at most {MAX_REQUEST_BYTES:,}.")


def place_of(identity: str) -> tuple[str, str]:
    """The key and the etag in what the ledger remembers."""
    key, _, etag = identity.partition("\n")
    return key, etag


def object_id(prefix: str, key: str, etag: str, modified: str) -> str:
    """The id of a request object: 26 characters of base32."""
    digest = hashlib.sha256("\0".join((prefix, key, etag, modified)).encode()).digest()
    return base64.b32encode(digest)[:26].decode().lower()


class Shelf:
    """The request objects right below a prefix."""

    def __init__(self, store: MinioStore, prefix: str) -> None:
        self.store, self.prefix = store, prefix
        self.odd: set[str] = set()

    async def objects(self) -> AsyncIterator[RequestObject]:
        """Every object that is a request by its name. Raises StoreError when the listing is not complete."""
        odd = set[str]()
        async for stored in self.store.list_direct(self.prefix):
            name = request_name(self.prefix, stored.key)
            if name is not None and key_problems(stored.key):
                odd.add(stored.key)
            elif name is not None:
                yield self._object(stored, name)
        self._tell(odd)

    def _tell(self, odd: set[str]) -> None:
        """Objects whose keys we would never ask for stay where they are; each is told of once."""
        for key in sorted(odd - self.odd):
            log.warning("%s is left alone: its name has a control character or a backslash", printable(key))
        self.odd = odd

    def _object(self, stored: Stored, name: str) -> RequestObject:
        modified = stored.modified.isoformat() if stored.modified else ""
        return RequestObject(
            id=object_id(self.prefix, stored.key, stored.etag, modified),
            key=stored.key,
            name=name,
            etag=stored.etag,
            size=stored.size,
            modified=stored.modified,
        )

    async def read(self, found: RequestObject) -> bytes | None:
        """The bytes of exactly this object; None when it is gone, or was replaced in this moment."""
        try:
            body, now = await self.store.get(found.key, max_bytes=MAX_REQUEST_BYTES)
        except NoSuchKey:
            return None
        return body if now.etag == found.etag else None
