"""Cabinet: the done/ and failed/ of a bucket inbox, where request objects go when they have ended."""

from __future__ import annotations

import json
from dataclasses import dataclass

from comfygen.errors import NoSuchKey, PreconditionFailed
from comfygen.minio_client import MinioStore
from comfygend.inbox import Ending
from comfygend.inbox.endings import PLACES, choices, is_report_of, names_of
from comfygend.inbox.names import fitted

MAX_REPORT_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Cabinet:
    """Below `prefix` of the bucket. `after` says what becomes of the request object itself."""

    store: MinioStore
    prefix: str
    after: str

    async def put_away(self, ending: Ending, source: str, etag: str, body: bytes) -> None:
        """Report first, then the object; repeating it changes nothing."""
        place, suffix = ("done", ".result.json") if ending.ok else ("failed", ".error.json")
        name = await self._free_name(ending, place, suffix)
        report = json.dumps(ending.report, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
        await self.store.put(
            f"{self.prefix}{place}/{fitted('', name, suffix)}",
            report.encode("utf-8", "backslashreplace"),
            content_type="application/json",
        )
        if self.after == "move":
            await self._move(source, etag, f"{self.prefix}{place}/{name}", body)
        elif self.after == "delete":
            await self._remove(source, etag)
        if ending.again:
            await self._forget(ending, place)

    async def _forget(self, ending: Ending, place: str) -> None:
        """Remove what an earlier ending of this request has left in the other place."""
        for other, suffix in PLACES:
            for name in choices(ending) if other != place else ():
                report, folder = fitted("", name, suffix), f"{self.prefix}{other}/"
                if await self._exists(folder + report) and await self._is_free(folder, name, suffix, ending.request_id):
                    await self.store.delete(folder + report)
                    await self.store.delete(folder + name)

    async def _move(self, source: str, etag: str, target: str, body: bytes) -> None:
        """Copy exactly the object that was taken, then delete it; one that was replaced meanwhile stays."""
        try:
            await self.store.copy(source, target, source_etag=etag)
        except (PreconditionFailed, NoSuchKey):
            await self._keep_body(target, body)
            return
        await self._remove(source, etag)

    async def _keep_body(self, target: str, body: bytes) -> None:
        try:
            await self.store.head(target)
        except NoSuchKey:
            await self.store.put(target, body, content_type="application/yaml")

    async def _remove(self, source: str, etag: str) -> None:
        """Delete the object unless it is another one by now. (Servers ignore If-Match on DELETE.)"""
        try:
            if (await self.store.head(source)).etag == etag:
                await self.store.delete(source)
        except NoSuchKey:
            return

    async def _free_name(self, ending: Ending, place: str, suffix: str) -> str:
        for name in choices(ending):
            if await self._is_free(f"{self.prefix}{place}/", name, suffix, ending.request_id):
                return name
        return fitted(f"{ending.request_id}-", "request.yaml")

    async def _is_free(self, folder: str, name: str, suffix: str, request_id: str) -> bool:
        try:
            report, _ = await self.store.get(folder + fitted("", name, suffix), max_bytes=MAX_REPORT_BYTES)
        except NoSuchKey:
            return not await self._exists(folder + name)
        return is_report_of(report, request_id)

    async def _exists(self, key: str) -> bool:
        try:
            await self.store.head(key)
        except NoSuchKey:
            return False
        return True

    async def has_ended(self, name: str, request_id: str) -> bool:
        """Whether the report of a request lies here."""
        for place, suffix in PLACES:
            for choice in names_of(name, request_id):
                key = f"{self.prefix}{place}/{fitted('', choice, suffix)}"
                try:
                    report, _ = await self.store.get(key, max_bytes=MAX_REPORT_BYTES)
                except NoSuchKey:
                    continue
                if is_report_of(report, request_id):
                    return True
        return False
