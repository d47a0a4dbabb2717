"""Input images: which files a request may name, and where the prepared ones wait until they have run."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from comfygen.errors import ComfyGenError, KeyInvalid, NoSuchKey
from comfygen.sidecar import bare_url
from comfygen.store import Store
from comfygend.fetching import BESIDE, Fetcher
from comfygend.inbox.drops import write_durably

MAX_INPUT_BYTES = 64 * 2**20
ADDRESS = re.compile(r"\s*(https?|ftp|file|data):", re.IGNORECASE)


class InputRefused(ComfyGenError):
    """The input image may not or cannot be read."""

    code = "input_refused"


class InputsUnwritable(ComfyGenError):
    """Prepared input images cannot be kept."""

    code = "inputs_unwritable"
    retryable = True


class SpooledInputs:
    """Reads input images from the allowed folders, from the store or, with a fetcher, from addresses; and keeps
    prepared ones in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        allowed: Sequence[Path],
        store: Store,
        prefixes: Sequence[tuple[Store, str]] = (),
        fetcher: Fetcher | None = None,
    ) -> None:
        self.folder, self.fetcher = folder, fetcher
        self._keeping = asyncio.Lock()
        self._holders = 0
        self.holds = 0
        self.shelves = [*prefixes, (store, "")]
        self.allowed = [path.resolve() for path in allowed]

    async def read(self, reference: str) -> bytes:
        """A file below one of the allowed folders, an object beside the requests, or an earlier output by its key."""
        if ADDRESS.match(reference):
            return await self._fetched(reference)
        path = await asyncio.to_thread(self._find, reference)
        if path is not None:
            return await asyncio.to_thread(_read, path)
        for store, prefix in self.shelves:
            try:
                return (await store.get(prefix + reference, max_bytes=MAX_INPUT_BYTES))[0]
            except (NoSuchKey, KeyInvalid):
                continue
        folders = ", ".join([*map(str, self.allowed), *(prefix for _, prefix in self.shelves if prefix)])
        raise InputRefused(
            f"There is no {reference!r}.",
            hint=f"Name a file in {folders}, or the key of an earlier output.",
        )

    async def _fetched(self, address: str) -> bytes:
        if self.fetcher is None:
            shown = bare_url(address.partition("?")[0])[:80]
            raise InputRefused(f"{shown!r} is an address; addresses are not fetched.", hint=BESIDE)
        return await self.fetcher.fetch(address)

    def _find(self, reference: str) -> Path | None:
        if "\0" in reference:
            raise InputRefused("A file name has no NUL character.")
        for folder in self.allowed:
            try:
                path = (folder / reference).resolve()
                exists = path.is_file()
            except (OSError, RuntimeError):
                continue
            if exists and any(path.is_relative_to(root) for root in self.allowed):
                return path
            if exists:
                raise InputRefused(
                    f"{reference!r} lies outside the folders that input images may come from.",
                    hint="Put it beside the request file, or add its folder to `inputs` in the configuration.",
                )
        return None

    async def keep(self, name: str, content: bytes) -> None:
        """Keep a prepared image until no open job needs it. Raises InputsUnwritable when the disk is full, say."""
        async with self._keeping:
            await asyncio.to_thread(self._keep, name, content)

    def _keep(self, name: str, content: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / name).exists():
                write_durably(self.folder / name, content)
        except OSError as exc:
            hint = "Free some space on its disk, or mend its rights."
            raise InputsUnwritable(f"{self.folder} cannot be written: {exc.strerror}.", hint=hint) from exc

    @contextmanager
    def holding(self) -> Iterator[None]:
        """While it lasts nothing is dropped: what is kept now is in no ledger yet."""
        self.holds += 1
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    def kept(self, name: str) -> bytes:
        """The bytes of a prepared image. Raises InputRefused when somebody deleted it."""
        try:
            return (self.folder / name).read_bytes()
        except OSError as exc:
            raise InputRefused(f"The prepared input image {name} is gone: {exc.strerror}.") from exc

    def drop_all_but(self, names: set[str], *, holds: int) -> None:
        """Delete the prepared images that no open job needs. Nothing goes if `holds` has changed since it was asked
        which those are: the next time will do."""
        if self.folder.is_dir() and not self._holders and self.holds == holds:
            for path in self.folder.iterdir():
                if path.name not in names:
                    with suppress(OSError):  # one that cannot be deleted now is found again
                        path.unlink()


def _read(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            content = file.read(MAX_INPUT_BYTES + 1)
    except OSError as exc:
        raise InputRefused(f"{path.name} cannot be read: {exc.strerror}.") from exc
    if len(content) > MAX_INPUT_BYTES:
        raise InputRefused(f"{path.name} has more than {MAX_INPUT_BYTES:,} bytes.")
    return content
