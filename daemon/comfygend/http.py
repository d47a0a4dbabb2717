"""The service's small http server: /healthz and /status."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiohttp import web

from comfygen.errors import ConfigInvalid
from comfygend.board import Board

log = logging.getLogger(__name__)
Counts: TypeAlias = Callable[[], Awaitable[dict[str, object]]]
BOARD = web.AppKey("board", Board)
COUNTS: web.AppKey[Counts] = web.AppKey("counts")


async def healthz(request: web.Request) -> web.Response:
    """200 while every part works, 503 with the troubles otherwise."""
    troubles = {part: vars(trouble) for part, trouble in request.app[BOARD].troubles.items()}
    return web.json_response({"ok": not troubles, "troubles": troubles}, status=503 if troubles else 200)


async def status(request: web.Request) -> web.Response:
    """What every part says about itself."""
    return web.json_response(request.app[BOARD].told() | await request.app[COUNTS]())


@asynccontextmanager
async def serving(host: str, port: int, board: Board, counts: Counts) -> AsyncIterator[int]:
    """Serve until the context ends; gives the port. Raises ConfigInvalid when the address cannot be had."""
    app = web.Application()
    app[BOARD], app[COUNTS] = board, counts
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/status", status)
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
