"""`comfygend --check`: look at everything that a start needs, and say what is wrong, all at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from comfygen.comfyui_client import ComfyUIClient
from comfygen.config import BackendConfig, Config
from comfygen.errors import ComfyGenError, ComfyUIError
from comfygen.resources import Library
from comfygend.inbox.folder import FolderInbox
from comfygend.ledger import Ledger
from comfygend.parts import open_store


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at: `ok`, or what is wrong. `fatal`: the service could not work like this."""

    what: str
    wrong: str | None = None
    fatal: bool = True


async def check(config: Config) -> AsyncIterator[Finding]:
    """Look at workflows, presets, inboxes, ledger, store and every ComfyUI."""
    for finding in _files(config):
        yield finding
    try:
        async with open_store(config.store) as (store, name):
            async for _ in store.list():
                break
        yield Finding(what=f"store {name}")
    except ComfyGenError as exc:
        yield Finding(what="store", wrong=str(exc))
    for backend in config.comfyui:
        yield await _backend(backend)


def _files(config: Config) -> list[Finding]:
    found: list[Finding] = []
    try:
        library = Library(config.workflows, config.presets)
        found += [Finding(what="workflows and presets", wrong=str(problem)) for problem in library.check()]
        found += [] if found else [Finding(what=f"workflows in {library.folder}: {', '.join(library.names())}")]
    except ComfyGenError as exc:
        found.append(Finding(what="workflows and presets", wrong=str(exc)))
    for inbox in (FolderInbox(place.folder) for place in config.inbox if place.folder is not None):
        try:
            inbox.prepare()
            found.append(Finding(what=f"inbox {inbox.folder}"))
        except ComfyGenError as exc:
            found.append(Finding(what="inbox", wrong=str(exc)))
    try:
        Ledger.open(config.queue_db).close()
        found.append(Finding(what=f"ledger {config.queue_db}"))
    except ComfyGenError as exc:
        found.append(Finding(what="ledger", wrong=str(exc)))
    return found


async def _backend(backend: BackendConfig) -> Finding:
    try:
        async with ComfyUIClient(backend.url, timeout=5) as client:
            server = await client.server()
    except ComfyUIError as exc:
        return Finding(what=f"ComfyUI {backend.url}", wrong=f"{exc} Jobs would wait until it is there.", fatal=False)
    simulated = " (simulated)" if server.simulated else ""
    return Finding(what=f"ComfyUI {backend.url}: version {server.version}{simulated}")
