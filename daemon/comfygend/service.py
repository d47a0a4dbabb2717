"""Service: the composition root. Starts the named loops, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from comfygen.config import Config, environment, split_address
from comfygend.backups import Backups
from comfygend.bell import Bell
from comfygend.http import Hooks, serving
from comfygend.ledger import JobState, RequestRow, Switch
from comfygend.lock import locked
from comfygend.notify import Notify
from comfygend.parts import Parts, open_parts
from comfygend.reconcile import Tally
from comfygend.reloading import Reloading
from comfygend.sweeping import Sweeping
from comfygend.upkeep import Upkeep

log = logging.getLogger(__name__)
ROLES = ("inbox", "worker", "publisher", "indexer")
GRACE_SECONDS = 10.0
LOOK_SECONDS = 0.05
EVERY = "every"  # the role of loops that run whatever roles were chosen
FIRST_STOPPED = ("inbox", "worker")
HOPELESS = {"store", "index", "ledger"}  # while these are in trouble, a stop waits for nothing


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A named loop that runs until it is cancelled. One that ends by itself, or fails, stops the service."""

    name: str
    role: str
    run: Callable[[], Awaitable[None]]


def loops(parts: Parts, roles: Collection[str]) -> Iterator[Loop]:
    """The loops of the chosen roles."""
    for intake in parts.intakes:
        yield Loop(name=f"intake {intake.inbox.name}", role="inbox", run=intake.run)
        yield Loop(name=f"intake retry {intake.inbox.name}", role="inbox", run=intake.retry)
        yield Loop(name=f"claims {intake.inbox.name}", role="inbox", run=intake.inbox.keep)
    yield Loop(name="filing", role="inbox", run=parts.filing.run)
    for worker in parts.workers:
        yield Loop(name=f"backend {worker.backend.name}", role="worker", run=worker.backend.watch)
        yield Loop(name=f"worker {worker.backend.name}", role="worker", run=worker.run)
    yield Loop(name="publisher", role="publisher", run=parts.publisher.run)
    if parts.ears:
        sweeping = Sweeping(store=parts.ears[0].store)
        yield Loop(name="sweep", role="publisher", run=sweeping.run)
    yield Loop(name="listen", role="indexer", run=parts.indexer.listen)
    yield Loop(name="look", role="indexer", run=parts.indexer.look)
    yield Loop(name="reconcile", role="indexer", run=parts.indexer.reconcile)
    backups = Backups(source=parts.config.queue_db, folder=parts.config.state_dir / "backups", board=parts.board)
    yield Loop(name="backups", role=EVERY, run=backups.run)
    yield Loop(name="upkeep", role=EVERY, run=_upkeep(parts).run)


def _upkeep(parts: Parts) -> Upkeep:
    index = parts.indexer.lookout.index
    logs: dict[Path, Callable[[], Awaitable[None]]] = {
        _log_of(parts.config.queue_db): lambda: parts.ledger(lambda ledger: ledger.checkpoint()),
        _log_of(parts.config.index_db): lambda: index(lambda index: index.checkpoint()),
    }
    return Upkeep(folder=parts.config.state_dir, logs=logs, board=parts.board)


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


async def serve(
    config: Config,
    *,
    once: bool = False,
    roles: Collection[str] = ROLES,
    read: Callable[[], Config] | None = None,
) -> int:
    """Run the service until it is told to stop, or with `once` until everything is done. `read` gives the configuration
    anew, for a reload.

    Gives the exit code: 0, or 1 when during a run with `once` a request failed or could not be taken out of its inbox.
    Raises ComfyGenError when it cannot start, and a group of errors when a loop failed.
    """
    notify, started = Notify.from_environment(environment()), datetime.now(UTC).isoformat(timespec="microseconds")
    with locked(config.state_dir):
        async with open_parts(config) as parts:
            await _recover(parts)
            host, port = split_address(config.http)
            _tell(parts)
            async with serving(host, port, parts.board, lambda: _counts(parts), _hooks(parts), parts.control) as bound:
                done = partial(_is_done, parts, roles) if once else None
                reloading = Reloading(
                    config=config,
                    read=read or (lambda: config),
                    apply=parts.limit,
                    check=parts.library.check,
                    board=parts.board,
                    notify=notify,
                )
                reload = Loop(name="reload", role=EVERY, run=reloading.run)
                chosen = [loop for loop in (*loops(parts, roles), reload) if loop.role in {*roles, EVERY}]
                place = f"http://{host}:{bound}/status"
                await run(parts, chosen, done, notify, reload=reloading.asked.set, place=place)
            failed = await parts.ledger(lambda ledger: ledger.requests.failed_since(started))
            troubles = parts.board.troubles
            stuck = any(inbox.name in troubles or inbox.stuck() for inbox in parts.inboxes)
    return 1 if once and (failed or stuck) else 0


async def reindex(config: Config) -> Tally:
    """Empty the index, in place, and fill it from the store. Raises ComfyGenError, or a group of StoreErrors."""
    with locked(config.state_dir):
        async with open_parts(config) as parts:
            await anext(parts.indexer.store.list(), None)  # a store that is away leaves the index as it is
            await parts.indexer.lookout.index(lambda index: index.reset())
            return await parts.indexer.once()


async def _recover(parts: Parts) -> None:
    """Forget what no open job needs, and give back what no request knows."""
    await parts.ledger(lambda ledger: ledger.jobs.reconsider())
    for job in await parts.ledger(lambda ledger: ledger.jobs.orphaned([backend.name for backend in parts.backends])):
        log.warning("job %s was given to %s, which is not configured any more", job.id, job.backend)
        await parts.ledger(lambda ledger, job=job: ledger.jobs.put_back(job.id, reason="backend removed"))  # type: ignore[misc]
    for inbox in parts.inboxes:
        for request in await inbox.resume(await _open(parts, inbox.name)):
            log.warning("request %s is another service's by now", request)
            await parts.ledger(lambda ledger, request=request: ledger.requests.withdraw(request))  # type: ignore[misc]
        known = await parts.ledger(lambda ledger, name=inbox.name: {r.id for r in ledger.requests.open(name)})  # type: ignore[misc]
        for name in inbox.strays(known):
            log.warning("%s: %s was in work/ but unknown to the ledger; it is taken again", inbox.name, name)
    spooled = await parts.ledger(lambda ledger: {job.id for job in ledger.jobs.open()})
    await asyncio.to_thread(parts.spool.drop_all_but, spooled)


async def _open(parts: Parts, inbox: str) -> list[RequestRow]:
    return await parts.ledger(lambda ledger: ledger.requests.open(inbox))


def _tell(parts: Parts) -> None:
    parts.board.parts["inboxes"] = lambda: [inbox.status() for inbox in parts.inboxes]
    parts.board.parts["backends"] = lambda: [backend.told() for backend in parts.backends]
    parts.board.parts["indexer"] = parts.indexer.told


def _hooks(parts: Parts) -> Hooks | None:
    """Where webhooks go, if the configuration has a token for them."""
    token = parts.config.store.webhook_token
    return Hooks(token=token.get_secret_value(), offers=tuple(ear.offer for ear in parts.ears)) if token else None


async def _counts(parts: Parts) -> dict[str, object]:
    counts = asdict(await parts.ledger(lambda ledger: ledger.counts()))
    return {"ledger": counts, **await parts.control.switches()}


async def run(
    parts: Parts,
    chosen: Sequence[Loop],
    done: Callable[[], Awaitable[bool]] | None,
    notify: Notify,
    *,
    reload: Callable[[], None] = lambda: None,
    place: str = "nothing",
) -> None:
    """Run loops until a signal asks for a stop or all is `done`. Raises a group of errors when one failed or ended."""
    stop = asyncio.Event()
    with _signals(stop, reload):
        log.info("serving %s", place)  # not before signals are heeded
        notify.say("READY=1", "STATUS=working")
        async with asyncio.TaskGroup() as group:
            tasks = {group.create_task(_named(loop), name=loop.name): loop for loop in chosen}
            watch = [group.create_task(_watchdog(notify, parts), name="watchdog")]
            if done is not None:
                watch.append(group.create_task(_until(done, parts.bell, stop), name="once"))
            await stop.wait()
            notify.say("STOPPING=1")
            await _stop(parts, tasks)
            for task in watch:
                task.cancel()


async def _named(loop: Loop) -> None:
    await loop.run()
    raise RuntimeError(f"the loop {loop.name!r} ended by itself")


async def _stop(parts: Parts, tasks: dict[asyncio.Task[None], Loop]) -> None:
    """Stop intake and work first; give the publisher a while for what is in the spool; then cancel the rest.

    What runs on a ComfyUI goes on there, and is found again at the next start.
    """
    log.info("stopping")
    roles = {loop.role for loop in tasks.values()}
    first = [
        task
        for task, loop in tasks.items()
        if loop.role in FIRST_STOPPED and not loop.name.startswith(("filing", "claims"))
    ]
    for task in first:
        task.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            await asyncio.gather(*first, return_exceptions=True)  # until then they may write something down
            while not parts.board.troubles.keys() & HOPELESS and not await _is_quiet(parts, roles):
                parts.bell.ring()  # who was cancelled may have written something down, and told nobody
                await asyncio.sleep(LOOK_SECONDS)
    for task in tasks:
        task.cancel()


async def _is_quiet(parts: Parts, roles: Collection[str]) -> bool:
    """Whether those who may end what they do have nothing left to do."""
    counts = await parts.ledger(lambda ledger: ledger.counts())
    generated, hints = counts.jobs.get(JobState.GENERATED, 0), len(parts.indexer.pending.keys)
    left = {"publisher": generated, "inbox": counts.unfiled, "indexer": hints}
    return not any(left[role] for role in left if role in roles)


async def _until(done: Callable[[], Awaitable[bool]], bell: Bell, stop: asyncio.Event) -> None:
    while True:
        seen = bell.rings
        if await done():
            stop.set()
            return
        await bell.after(seen, LOOK_SECONDS)


async def _is_done(parts: Parts, roles: Collection[str]) -> bool:
    """Whether the inboxes are empty and all that may run now is published, filed and indexed, as far as roles run."""
    if await _is_busy(parts, roles):
        return False
    closed = "inbox" not in roles or (await parts.control.switches())[Switch.DRAINING] is not None
    empty = closed or all(inbox.is_empty() for inbox in parts.inboxes)
    indexed = "indexer" not in roles or parts.indexer.is_idle
    return empty and indexed and not await _is_busy(parts, roles)  # something may have come in between


async def _is_busy(parts: Parts, roles: Collection[str]) -> bool:
    counts = await parts.ledger(lambda ledger: ledger.counts())
    generated = counts.jobs.get(JobState.GENERATED, 0)
    left = {"inbox": counts.received + counts.unfiled, "worker": counts.due - generated, "publisher": generated}
    return any(left[role] for role in left if role in roles)


async def _watchdog(notify: Notify, parts: Parts) -> None:
    """Tell the service manager that the event loop and the ledger's thread turn: if either hangs, nothing is told."""
    while True:
        await parts.ledger(lambda ledger: None)
        notify.say("WATCHDOG=1")
        await asyncio.sleep(notify.watchdog_seconds or 3600)


@contextlib.contextmanager
def _signals(stop: asyncio.Event, reload: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT ask for a stop; the second one ends the process at once. SIGHUP asks for a reload."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        if stop.is_set():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        stop.set()

    handlers = {signal.SIGTERM: ask, signal.SIGINT: ask, signal.SIGHUP: reload}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
