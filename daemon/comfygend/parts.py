"""Parts: everything the service is made of, opened in order and closed in the other."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comfygen.comfyui_client import ComfyUIClient
from comfygen.config import Config, LimitsConfig, StoreConfig
from comfygen.errors import InvalidInput
from comfygen.folder_store import FolderStore
from comfygen.index import Index, IndexCorrupt
from comfygen.pipeline import Kitchen
from comfygen.resources import Library
from comfygen.store import Store
from comfygend.backends import Backend
from comfygend.bell import Bell
from comfygend.board import Board
from comfygend.control import Control
from comfygend.ears import Ear
from comfygend.fetching import Fetcher
from comfygend.filing import Filing
from comfygend.heritage import Heritage
from comfygend.inbox import Inbox
from comfygend.inbox.drops import write_durably
from comfygend.inbox.folder import FolderInbox
from comfygend.indexer import Indexer, without_outputs
from comfygend.inputs import MAX_INPUT_BYTES, SpooledInputs
from comfygend.intake import Intake
from comfygend.ledger import Job, Ledger, request_id
from comfygend.looking import Lookout
from comfygend.patience import PatientLedger
from comfygend.publisher import Publisher
from comfygend.spool import Spool
from comfygend.threads import OnThread
from comfygend.worker import Worker

if TYPE_CHECKING:  # aiobotocore is half of the time to start: it is imported when there is a bucket
    from comfygend.inbox.bucket import BucketInbox

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The opened service."""

    config: Config
    board: Board
    bell: Bell
    ledger: OnThread[Ledger]
    library: Library
    inboxes: tuple[Inbox, ...]
    ears: tuple[Ear, ...]
    intakes: tuple[Intake, ...]
    backends: tuple[Backend, ...]
    workers: tuple[Worker, ...]
    publisher: Publisher
    filing: Filing
    indexer: Indexer
    spool: Spool
    control: Control

    def limit(self, limits: LimitsConfig) -> None:
        """Take over the limits that may change while everything runs."""
        for worker in self.workers:
            worker.attempts, worker.stall_seconds = limits.attempts, limits.stall_seconds
            worker.spool_bytes, worker.queue_timeout = limits.spool_bytes, limits.queue_timeout
        for inbox in self.inboxes:
            inbox.rescan_seconds = limits.rescan_seconds
            if isinstance(inbox, FolderInbox):
                inbox.settle_seconds = limits.settle_seconds
        self.indexer.reconcile_seconds = limits.reconcile_seconds


def open_library(config: Config, board: Board) -> Library:
    """Workflows and presets, all read once, so that one which breaks later has a last good version."""

    def tell(name: str, error: InvalidInput | None) -> None:
        if error is None:
            board.well(name)
        else:
            board.trouble(name, error.message, "Its last good version is used until it is mended.")

    library = Library(config.workflows, config.presets, tell=tell)
    for problem in library.check():
        log.warning("%s", problem)
    return library


def open_index(path: Path) -> Index:
    """The index; a damaged one is made anew, empty: the reconcile at the start fills it."""
    try:
        return Index.open(path)
    except IndexCorrupt:
        return Index.recreate(path)


@asynccontextmanager
async def open_store(config: StoreConfig) -> AsyncIterator[tuple[Store, str]]:
    """The store, and the name it has in the index."""
    if config.folder is not None:
        async with FolderStore(config.folder, public_url=config.public_url) as folder:
            yield folder, f"folder:{config.folder}"
    else:
        from comfygen.minio_client import MinioStore, StoreSettings

        async with MinioStore.open(StoreSettings.of(config)) as bucket:
            yield bucket, f"bucket:{config.bucket}/{config.prefix}"


def owner_token(state_dir: Path) -> str:
    """What names this service in claims: the same after every restart, another for every state directory."""
    path = state_dir / "owner"
    if not path.exists():
        write_durably(path, secrets.token_hex(16).encode())
    return path.read_text(encoding="utf-8").strip()


@asynccontextmanager
async def open_parts(config: Config) -> AsyncIterator[Parts]:
    """Open everything. Raises ComfyGenError for what must work at the start: servers that are away need not."""
    async with AsyncExitStack() as stack:
        board, bell = Board(), Bell()
        library = open_library(config, board)
        ledger = await stack.enter_async_context(PatientLedger(lambda: Ledger.open(config.queue_db), board))
        index = await stack.enter_async_context(OnThread("index", lambda: open_index(config.index_db)))
        store, source = await stack.enter_async_context(open_store(config.store))
        inboxes, ears = await _inboxes(config, stack, ledger)
        by_name = {inbox.name: inbox for inbox in inboxes}
        inputs = _inputs(config, store, ears)
        spool = Spool(config.spool)
        ear = _ear(store)
        indexer = Indexer(
            Lookout(store=store, index=index, source=source),
            board=board,
            reconcile_seconds=config.limits.reconcile_seconds,
            excluded=without_outputs(config),
            ear=ear,
        )
        clients = [await stack.enter_async_context(ComfyUIClient(backend.url)) for backend in config.comfyui]
        backends = tuple(Backend(name=client.url, client=client, board=board) for client in clients)
        kitchen = Kitchen(library=library, inputs=inputs)
        is_ours = partial(_is_ours, ledger, by_name)
        intakes = tuple(_intake(inbox, ledger, kitchen, bell, board) for inbox in inboxes)
        yield Parts(
            config=config,
            board=board,
            bell=bell,
            ledger=ledger,
            library=library,
            inboxes=inboxes,
            ears=(*((ear,) if ear else ()), *ears),
            intakes=intakes,
            backends=backends,
            workers=tuple(
                _worker(config, backend, ledger, spool, inputs, bell, Heritage(store=store), is_ours)
                for backend in backends
            ),
            publisher=Publisher(
                store=store, ledger=ledger, spool=spool, bell=bell, board=board, look=indexer.see, is_ours=is_ours
            ),
            filing=Filing(inboxes=by_name, ledger=ledger, inputs=inputs, bell=bell, board=board),
            indexer=indexer,
            spool=spool,
            control=Control(
                ledger=ledger,
                bell=bell,
                inboxes=by_name,
                again={intake.inbox.name: intake.again.ring for intake in intakes},
                backends=backends,
            ),
        )


def _inputs(config: Config, store: Store, ears: Sequence[Ear]) -> SpooledInputs:
    """Input images come from the inboxes, from more folders and hosts that are named, and from the store."""
    return SpooledInputs(
        config.state_dir / "inputs",
        allowed=[*(place.folder for place in config.inbox if place.folder is not None), *config.inputs],
        store=store,
        prefixes=[(ear.store, ear.prefix) for ear in ears],
        fetcher=Fetcher(hosts=config.input_hosts, max_bytes=MAX_INPUT_BYTES) if config.input_hosts else None,
    )


async def _is_ours(ledger: OnThread[Ledger], inboxes: Mapping[str, Inbox], job: Job) -> bool:
    """Whether the request of a job is still ours; one that is not is withdrawn."""
    row = await ledger(lambda ledger: ledger.requests.get(job.request_id))
    inbox = inboxes.get(row.inbox)
    if inbox is None or await inbox.is_ours(row.id):
        return True
    await ledger(lambda ledger: ledger.requests.withdraw(row.id))
    return False


def _ear(store: Store) -> Ear | None:
    """What a bucket's notifications are heard with; a folder watches itself."""
    if isinstance(store, FolderStore):
        return None
    from comfygen.minio_client import MinioStore

    return Ear(store) if isinstance(store, MinioStore) else None


async def _inboxes(
    config: Config, stack: AsyncExitStack, ledger: OnThread[Ledger]
) -> tuple[tuple[Inbox, ...], tuple[Ear, ...]]:
    found: list[Inbox] = []
    ears: list[Ear] = []
    for place in config.inbox:
        if place.folder is not None:
            found.append(await _folder_inbox(config, place.folder, ledger))
        else:
            from comfygen.minio_client import MinioStore, StoreSettings

            root = replace(StoreSettings.of(config.store), prefix="")
            ear = Ear(await stack.enter_async_context(MinioStore.open(root)), str(place.prefix))
            ears.append(ear)
            found.append(_bucket_inbox(config, ear, place.after, ledger))
    return tuple(found), tuple(ears)


async def _folder_inbox(config: Config, folder: Path, ledger: OnThread[Ledger]) -> FolderInbox:
    limits = config.limits
    inbox = FolderInbox(folder, rescan_seconds=limits.rescan_seconds, settle_seconds=limits.settle_seconds)
    inbox.prepare(known=bool(await ledger(lambda ledger: ledger.requests.open(inbox.name))))
    return inbox


def _bucket_inbox(config: Config, ear: Ear, after: str, ledger: OnThread[Ledger]) -> BucketInbox:
    from comfygend.inbox.bucket import BucketInbox

    async def body_of(request: str) -> bytes:
        return await ledger(lambda ledger: ledger.requests.body(request))

    async def on_lost(request: str) -> None:
        await ledger(lambda ledger: ledger.requests.withdraw(request))

    return BucketInbox(
        ear.store,
        ear.prefix,
        owner=owner_token(config.state_dir),
        lease=config.limits.claim_lease_seconds,
        after=after,
        rescan_seconds=config.limits.rescan_seconds,
        listen=ear.listen,
        body_of=body_of,
        on_lost=on_lost,
    )


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
    config: Config,
    backend: Backend,
    ledger: OnThread[Ledger],
    spool: Spool,
    inputs: SpooledInputs,
    bell: Bell,
    heritage: Heritage,
    is_ours: Callable[[Job], Awaitable[bool]],
) -> Worker:
    return Worker(
        backend=backend,
        backends=len(config.comfyui),
        ledger=ledger,
        spool=spool,
        inputs=inputs,
        bell=bell,
        heritage=heritage,
        is_ours=is_ours,
        attempts=config.limits.attempts,
        stall_seconds=config.limits.stall_seconds,
        spool_bytes=config.limits.spool_bytes,
        queue_timeout=config.limits.queue_timeout,
    )
