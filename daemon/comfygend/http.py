"""The service's small http server: health and status, notifications of the store, and control."""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from comfygen.errors import ComfyGenError, ConfigInvalid, InvalidInput, NotFound
from comfygend.board import Board
from comfygend.control import Control, Told
from comfygend.ledger import Conflict

log = logging.getLogger(__name__)
MAX_HOOK_BYTES = 8 * 2**20
CONTROL_HEADER, CONTROL_VALUE = "X-ComfyGen", "control"
Counts: TypeAlias = Callable[[], Awaitable[dict[str, object]]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
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


def statuscode(error: ComfyGenError) -> int:
    """The HTTP status that an error is answered with."""
    codes: dict[type[ComfyGenError], int] = {NotFound: 404, Conflict: 409, InvalidInput: 400}
    known = next((code for kind, code in codes.items() if isinstance(error, kind)), 500)
    return 503 if error.retryable else known


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as JSON. Whoever wants something done needs a header that no web page can send; browsers name the page's
    origin with every POST, so that not even a page under our own name can."""
    if request.method == "POST" and request.path != "/hooks/bucket":
        ours = request.headers.get(CONTROL_HEADER) == CONTROL_VALUE and "Origin" not in request.headers
        if not ours:
            hint = f"Send the header `{CONTROL_HEADER}: {CONTROL_VALUE}`, and not from a web page."
            return web.json_response(
                {"error": {"code": "forbidden", "message": "Not allowed.", "hint": hint}}, status=403
            )
    try:
        return await handler(request)
    except ComfyGenError as error:
        return web.json_response({"error": error.to_json()}, status=statuscode(error))


def answering(tell: Callable[[web.Request], Awaitable[Told]]) -> Handler:
    """A route that answers what it is told."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(await tell(request))

    return answer


def add_control(router: web.UrlDispatcher, control: Control) -> None:
    """The routes of control."""
    gets: dict[str, Callable[[web.Request], Awaitable[Told]]] = {
        "/jobs": lambda request: control.jobs(request.query.get("state", ""), request.query.get("limit", "100")),
        "/jobs/{id}": lambda request: control.job(request.match_info["id"]),
        "/requests/{id}": lambda request: control.request(request.match_info["id"]),
    }
    posts: dict[str, Callable[[web.Request], Awaitable[Told]]] = {
        "/jobs/{id}/cancel": lambda request: control.cancel_job(request.match_info["id"]),
        "/requests/{id}/cancel": lambda request: control.cancel_request(request.match_info["id"]),
        "/requests/{id}/retry": lambda request: control.retry(request.match_info["id"]),
        "/pause": lambda request: control.pause(),
        "/resume": lambda request: control.resume(),
        "/drain": lambda request: control.drain(),
    }
    for path, tell in gets.items():
        router.add_get(path, answering(tell))
    for path, tell in posts.items():
        router.add_post(path, answering(tell))


@asynccontextmanager
async def serving(
    host: str, port: int, board: Board, counts: Counts, hooks: Hooks | None = None, control: Control | None = None
) -> AsyncIterator[int]:
    """Serve until the context ends; gives the port. Raises ConfigInvalid when the address cannot be had."""
    app = web.Application(client_max_size=MAX_HOOK_BYTES, middlewares=[guarded])
    app[BOARD], app[COUNTS] = board, counts
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/status", status)
    if hooks is not None:
        app[HOOKS] = hooks
        app.router.add_post("/hooks/bucket", bucket_hook)
    if control is not None:
        add_control(app.router, control)
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
