"""Parts: everything the service is made of, opened in order and closed in the other."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from comfygen.comfyui_client import ComfyUIClient
from comfygen.config import Config, StoreConfig
from comfygen.folder_store import FolderStore
from comfygen.index import Index, IndexCorrupt
from comfygen.pipeline import MAX_RANDOM_SEED, Kitchen
from comfygen.resources import Library
from comfygen.store import Store
from comfygend.backends import Backend
from comfygend.bell import Bell
from comfygend.board import Board
from comfygend.filing import Filing
from comfygend.inbox import Inbox
from comfygend.inbox.folder import FolderInbox
from comfygend.indexer import Indexer
from comfygend.inputs import SpooledInputs
from comfygend.intake import Intake
from comfygend.ledger import Ledger, request_id
from comfygend.looking import Lookout
from comfygend.publisher import Publisher
from comfygend.spool import Spool
from comfygend.threads import OnThread
from comfygend.worker import Worker


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The opened service."""

    config: Config
    board: Board
    bell: Bell
    ledger: OnThread[Ledger]
    library: Library
    inboxes: tuple[FolderInbox, ...]
    intakes: tuple[Intake, ...]
    backends: tuple[Backend, ...]
    workers: tuple[Worker, ...]
    publisher: Publisher
    filing: Filing
    indexer: Indexer
    spool: Spool


def open_index(path: Path) -> Index:
    """The index; a damaged one is made anew, empty: the reconcile at the start fills it."""
    try:
        return Index.open(path)
    except IndexCorrupt:
        return Index.recreate(path)


@asynccontextmanager
async def open_store(config: StoreConfig) -> AsyncIterator[tuple[Store, str]]:
    """The store, and the name it has in the index."""
    if config.folder is None:
        raise NotImplementedError
    async with FolderStore(config.folder, public_url=config.public_url) as store:
        yield store, f"folder:{config.folder}"


@asynccontextmanager
async def open_parts(config: Config) -> AsyncIterator[Parts]:
    """Open everything. Raises ComfyGenError for what must work at the start: servers that are away need not."""
    async with AsyncExitStack() as stack:
        library = Library(config.workflows, config.presets)
        board, bell = Board(), Bell()
        ledger = await stack.enter_async_context(OnThread("ledger", lambda: Ledger.open(config.queue_db)))
        index = await stack.enter_async_context(OnThread("index", lambda: open_index(config.index_db)))
        store, source = await stack.enter_async_context(open_store(config.store))
        inboxes = tuple(_inbox(config, place.folder) for place in config.inbox if place.folder is not None)
        folders = [*(inbox.folder for inbox in inboxes), *config.inputs]
        inputs = SpooledInputs(config.state_dir / "inputs", allowed=folders, store=store)
        kitchen = Kitchen(library=library, inputs=inputs, draw=lambda: secrets.randbelow(MAX_RANDOM_SEED + 1))
        spool = Spool(config.spool)
        clients = [await stack.enter_async_context(ComfyUIClient(backend.url)) for backend in config.comfyui]
        backends = tuple(Backend(name=client.url, client=client, board=board) for client in clients)
        indexer = Indexer(
            Lookout(store=store, index=index, source=source),
            board=board,
            reconcile_seconds=config.limits.reconcile_seconds,
        )
        yield Parts(
            config=config,
            board=board,
            bell=bell,
            ledger=ledger,
            library=library,
            inboxes=inboxes,
            intakes=tuple(_intake(inbox, ledger, kitchen, bell, board) for inbox in inboxes),
            backends=backends,
            workers=tuple(_worker(config, backend, ledger, spool, inputs, bell) for backend in backends),
            publisher=Publisher(store=store, ledger=ledger, spool=spool, bell=bell, board=board, look=indexer.see),
            filing=Filing(
                inboxes={inbox.name: inbox for inbox in inboxes}, ledger=ledger, inputs=inputs, bell=bell, board=board
            ),
            indexer=indexer,
            spool=spool,
        )


def _inbox(config: Config, folder: Path) -> FolderInbox:
    inbox = FolderInbox(
        folder, rescan_seconds=config.limits.rescan_seconds, settle_seconds=config.limits.settle_seconds
    )
    inbox.prepare()
    return inbox


def _intake(inbox: Inbox, ledger: OnThread[Ledger], kitchen: Kitchen, bell: Bell, board: Board) -> Intake:
    return Intake(
        inbox=inbox,
        ledger=ledger,
        kitchen=kitchen,
        bell=bell,
        board=board,
        new_id=lambda: request_id(datetime.now(UTC), secrets.token_bytes(10)),
    )


def _worker(
    config: Config, backend: Backend, ledger: OnThread[Ledger], spool: Spool, inputs: SpooledInputs, bell: Bell
) -> Worker:
    return Worker(
        backend=backend,
        backends=len(config.comfyui),
        ledger=ledger,
        spool=spool,
        inputs=inputs,
        bell=bell,
        attempts=config.limits.attempts,
        stall_seconds=config.limits.stall_seconds,
        spool_bytes=config.limits.spool_bytes,
    )
