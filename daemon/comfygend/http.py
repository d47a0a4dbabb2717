"""The service's small http server: /healthz, /status, and /hooks/bucket for notifications of the store."""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from comfygen.errors import ConfigInvalid
from comfygend.board import Board

log = logging.getLogger(__name__)
MAX_HOOK_BYTES = 8 * 2**20
Counts: TypeAlias = Callable[[], Awaitable[dict[str, object]]]
BOARD = web.AppKey("board", Board)
COUNTS: web.AppKey[Counts] = web.AppKey("counts")


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """The bearer token of webhooks, and who is offered their bodies: each says why it cannot read one, or None."""

    token: str
    offers: tuple[Callable[[bytes], str | None], ...]


HOOKS: web.AppKey[Hooks] = web.AppKey("hooks", Hooks)


async def bucket_hook(request: web.Request) -> web.Response:
    """A notification. Always 2xx once the token is right: an error answer would block the sender's queue for good."""
    hooks = request.app[HOOKS]
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), hooks.token.encode()):
        return web.json_response({"ok": False, "message": "wrong bearer token"}, status=401)
    body = await _body(request)
    reasons = [offer(body) for offer in hooks.offers] if body is not None else ["The body is too large."]
    told = sorted({reason for reason in reasons if reason})
    for reason in told:
        log.warning("a webhook cannot be read: %s", reason)
    return web.json_response({"ok": not told, "problems": told})


async def _body(request: web.Request) -> bytes | None:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return None


async def healthz(request: web.Request) -> web.Response:
    """200 while every part works, 503 with the troubles otherwise."""
    troubles = {part: vars(trouble) for part, trouble in request.app[BOARD].troubles.items()}
    return web.json_response({"ok": not troubles, "troubles": troubles}, status=503 if troubles else 200)


async def status(request: web.Request) -> web.Response:
    """What every part says about itself."""
    return web.json_response(request.app[BOARD].told() | await request.app[COUNTS]())


@asynccontextmanager
async def serving(host: str, port: int, board: Board, counts: Counts, hooks: Hooks | None = None) -> AsyncIterator[int]:
    """Serve until the context ends; gives the port. Raises ConfigInvalid when the address cannot be had."""
    app = web.Application(client_max_size=MAX_HOOK_BYTES)
    app[BOARD], app[COUNTS] = board, counts
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/status", status)
    if hooks is not None:
        app[HOOKS] = hooks
        app.router.add_post("/hooks/bucket", bucket_hook)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as exc:
            hint = "Is another service running there? Choose another `http` address."
            raise ConfigInvalid(f"http: {host}:{port} cannot be listened on: {exc.strerror}.", hint=hint) from exc
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
