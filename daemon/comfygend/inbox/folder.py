"""FolderInbox: request files dropped into a folder."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from comfygen.errors import InboxError, RequestInvalid
from comfygen.request import parse_cancel, parse_requests
from comfygend.inbox import Ending, Inbox, InboxItem
from comfygend.inbox.drops import (
    Drop,
    DropRefused,
    DropUnreadable,
    look_at,
    read_drop,
    refusal,
    sync_folder,
    write_durably,
)
from comfygend.inbox.endings import choices, earlier, is_report_of
from comfygend.inbox.names import fitted, is_request_name, printable
from comfygend.inbox.places import MARKER, is_there, make_places
from comfygend.inbox.stability import Look, is_complete, is_settled
from comfygend.inbox.watching import FolderWatch
from comfygend.ledger import Arrival, RequestRow

log = logging.getLogger(__name__)
PENDING_SECONDS = 0.05
UNWATCHED_SECONDS = 1.0


class FolderInbox(Inbox):
    """A folder that people and programs drop request files into; `work/`, `done/` and `failed/` lie inside it."""

    def __init__(self, folder: Path, *, rescan_seconds: float = 30, settle_seconds: float = 1) -> None:
        self.folder = folder
        self.name = f"folder:{folder}"
        self.work, self.done, self.failed = folder / "work", folder / "done", folder / "failed"
        self.rescan_seconds, self.settle_seconds = rescan_seconds, settle_seconds
        self._looks: dict[str, Look] = {}
        self._stuck: dict[str, str] = {}
        self._pending = True
        self._absent = False
        self._device: int | None = None
        self._watch = FolderWatch(folder)

    def prepare(self, *, known: bool = False) -> None:
        """Create the folder and its places. Raises InboxError when they cannot work together.

        Of one that is `known`, because open requests lie in it, nothing is made while its marker is missing.
        """
        if not known or not self._is_absent():
            self._device = make_places(self.folder)

    # -- finding --------------------------------------------------------------------------------------------------

    async def items(self) -> AsyncGenerator[InboxItem, None]:
        watch = asyncio.create_task(self._watch.run(), name="inbox watch")
        watch.add_done_callback(lambda _: self._watch.changed.set())
        try:
            while True:
                if watch.done():
                    watch.result()  # it has no end: what it died of ends the inbox, too
                self._pending = True  # what is found from here on is in nobody's hands until the next round
                self._watch.changed.clear()
                pending = False
                for name in await asyncio.to_thread(self._names):
                    item = await asyncio.to_thread(self._item, name)
                    if item is not None:
                        yield item
                    pending |= item is None and name not in self._stuck
                self._pending = pending or self._watch.changed.is_set()
                await self._wait(PENDING_SECONDS if pending else self._interval)
        finally:
            watch.cancel()

    @property
    def _interval(self) -> float:
        """How long to rely on the watcher; not for long, where there is none."""
        return self.rescan_seconds if self._watch.works else min(self.rescan_seconds, UNWATCHED_SECONDS)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._watch.changed.wait()
        except TimeoutError:
            return

    def _names(self) -> list[str]:
        """The names of possible requests, oldest first. A folder without its marker is not believed to be empty."""
        try:
            names = [] if self._is_absent() else self._listed()
        except (OSError, InboxError) as exc:  # it goes away, or its rights change, while we look
            if not self._absent:
                log.warning("inbox %s cannot be listed: %s", self.folder, exc)
            self._absent = True
            return []
        present = set(names)
        self._looks = {name: look for name, look in self._looks.items() if name in present}
        self._stuck = {name: why for name, why in self._stuck.items() if name in present}
        return names

    def _listed(self) -> list[str]:
        found: list[tuple[int, str]] = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if is_request_name(entry.name):
                    with suppress(FileNotFoundError):
                        found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
        return [name for _, name in sorted(found)]

    def _is_absent(self) -> bool:
        absent = not is_there(self.folder, self._device)
        if absent != self._absent:
            log.warning(
                "inbox %s: %s", self.folder, "its marker is missing, nothing is taken" if absent else "back again"
            )
            self._absent = absent
        if not absent and (self._device is None or not (self.folder / MARKER).exists()):
            self._device = make_places(self.folder)
        return absent

    def _item(self, name: str) -> InboxItem | None:
        """The item that a name is, or None while it is not complete (or gone, or cannot be read)."""
        path, now = self.folder / name, time.monotonic()
        try:
            look, status = look_at(path, now=now)
            look = self._looks[name] = look.since(self._looks.get(name))
            if (reason := refusal(status)) is not None:
                settled = is_settled(look, now=now, settle=self.settle_seconds)
                return self._refused(name, look, reason) if settled else None
            return self._whole(name, look, read_drop(path, now=now), now)
        except FileNotFoundError:
            return None
        except DropRefused:
            return None  # it became something else just now; the next look says what
        except (DropUnreadable, OSError) as exc:
            if self._stuck.get(name) != str(exc):
                log.warning("inbox %s: %s", self.folder, exc)
            self._stuck[name] = str(exc)
            return None

    def _refused(self, name: str, look: Look, reason: DropRefused) -> InboxItem:
        arrival = Arrival(inbox=self.name, name=printable(name), body=b"", identity=look.identity)
        return InboxItem(arrival=arrival, handle=name, refusal=reason)

    def _whole(self, name: str, look: Look, drop: Drop, now: float) -> InboxItem | None:
        if drop.look.values != look.values or not is_complete(look, drop.writers, now=now):
            return None
        arrival = Arrival(inbox=self.name, name=printable(name), body=drop.body, identity=look.identity)
        if not _makes_sense(arrival) and not is_settled(look, now=now, settle=self.settle_seconds):
            return None  # a writer may have closed it between two parts
        self._stuck.pop(name, None)
        return InboxItem(arrival=arrival, handle=name)

    def is_empty(self) -> bool:
        return not self._pending and not self._watch.changed.is_set()

    # -- claiming and putting away --------------------------------------------------------------------------------

    async def claim(self, item: InboxItem, request_id: str) -> None:
        await asyncio.to_thread(self._claim, item, request_id)

    def _claim(self, item: InboxItem, request_id: str) -> None:
        source, target = self.folder / item.handle, self.work / fitted(f"{request_id}__", item.arrival.name)
        try:
            self._make_sure(self.work)
            source.rename(target)
        except FileNotFoundError:
            return  # deleted just now; its bytes are in the ledger, so it was accepted
        except OSError as exc:
            self._stuck[item.handle] = str(exc.strerror)
            raise self._untakable(item.arrival.name, exc) from exc
        sync_folder(self.work)
        sync_folder(self.folder)
        if item.refusal is None and hashlib.sha256(target.read_bytes()).hexdigest() != item.arrival.sha256:
            raise DropRefused(
                "It changed while it was being taken.",
                hint="Write it elsewhere and move it in, then it is taken whole.",
            )

    def _make_sure(self, *places: Path) -> None:
        """Make places that somebody has removed. Raises InboxError while the disk of the inbox is away."""
        if self._is_absent():
            hint = "Mount it again, or make that file in it if it is the right one."
            raise InboxError(f"The inbox {self.folder} is away: its marker file {MARKER} is missing.", hint=hint)
        for place in places:
            place.mkdir(exist_ok=True)

    def _untakable(self, name: str, exc: OSError) -> InboxError:
        hint = "Give the service's user the right to rename files in the inbox."
        return InboxError(f"{name} cannot be taken out of the inbox: {exc.strerror}.", hint=hint)

    async def recover(self, row: RequestRow) -> None:
        await asyncio.to_thread(self._recover, row)

    def _recover(self, row: RequestRow) -> None:
        self._make_sure(self.work)
        for name in self._names():
            path = self.folder / name
            try:
                if self._is_file_of(path, row):
                    path.rename(self.work / fitted(f"{row.id}__", row.name))
                    sync_folder(self.work)
                    sync_folder(self.folder)
            except OSError as exc:
                raise self._untakable(name, exc) from exc

    def _is_file_of(self, path: Path, row: RequestRow) -> bool:
        try:
            look, status = look_at(path, now=0)
            if look.identity != row.identity:
                return False
            return refusal(status) is not None or read_drop(path, now=0).sha256 == row.sha256
        except (FileNotFoundError, DropRefused):
            return False

    def strays(self, known: set[str]) -> list[str]:
        """Give files in work/ that no open request knows back to the inbox; returns their names."""
        lying = sorted(self.work.iterdir()) if self.work.is_dir() else []
        found = [path for path in lying if path.name.partition("__")[0] not in known]
        return [path.name for path in found if self._is_given_back(path)]

    def _is_given_back(self, path: Path) -> bool:
        name = path.name.partition("__")[2] or path.name
        try:
            path.rename(self.folder / (path.name if os.path.lexists(self.folder / name) else name))
        except OSError as exc:  # a read-only disk, say: it is no reason not to start
            log.warning("inbox %s: %s cannot be given back: %s", self.folder, path.name, exc.strerror)
            return False
        return True

    async def file(self, ending: Ending) -> None:
        await asyncio.to_thread(self._file, ending)

    def _file(self, ending: Ending) -> None:
        folder, suffix = (self.done, ".result.json") if ending.ok else (self.failed, ".error.json")
        self._make_sure(self.work, folder)
        before = list(earlier(self.folder, ending))
        files = [*self._claimed(ending.request_id), *(path for _, path in before if path.is_file())]
        *others, own = choices(ending)  # a name with the id of the request is nobody else's
        name = next((name for name in others if self._is_free(folder, name, suffix, ending.request_id)), own)
        report = json.dumps(ending.report, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
        target = folder / fitted("", name, suffix)
        write_durably(target, report.encode("utf-8", "backslashreplace"))
        for old in {path for path, _ in before} - {target}:
            old.unlink(missing_ok=True)
        for source in files[:1]:
            source.rename(folder / name)
            sync_folder(self.work)
            sync_folder(folder)

    def _claimed(self, request_id: str) -> Iterator[Path]:
        """No glob: of each pattern it keeps a compiled one in memory."""
        return (path for path in self.work.iterdir() if path.name.startswith(f"{request_id}__"))

    def _is_free(self, folder: Path, name: str, suffix: str, request_id: str) -> bool:
        """Whether a name is nobody's, or was given to this very request before a crash."""
        report = folder / fitted("", name, suffix)
        if not report.exists():
            return not os.path.lexists(folder / name)
        return is_report_of(report.read_bytes(), request_id)

    async def resume(self, rows: Sequence[RequestRow]) -> list[str]:
        return []

    async def keep(self) -> None:
        """A rename within one folder is a claim for good."""
        await asyncio.Event().wait()

    async def is_ours(self, request_id: str) -> bool:
        return True

    def stuck(self) -> dict[str, str]:
        return {printable(name): reason for name, reason in self._stuck.items()}

    def status(self) -> dict[str, object]:
        state = "absent: its marker file is missing" if self._absent else self._watch.mode
        return {"inbox": self.name, "state": state, "stuck": self.stuck()}


def _makes_sense(arrival: Arrival) -> bool:
    try:
        if parse_cancel(arrival.body, file=arrival.name) is None:
            parse_requests(arrival.body, file=arrival.name)
    except RequestInvalid:
        return False
    return True
