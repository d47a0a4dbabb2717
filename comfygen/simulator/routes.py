"""Routes: the web application: every endpoint with its twin under /api, and who may call."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from comfygen.simulator.faults import Moment
from comfygen.simulator.jobs import Jobs
from comfygen.simulator.listing import Listing
from comfygen.simulator.media import Media
from comfygen.simulator.prompting import Prompting
from comfygen.simulator.server import Simulator
from comfygen.simulator.steering import Steering

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def application(simulator: Simulator) -> web.Application:
    """The whole server over one simulator."""
    app = web.Application(client_max_size=simulator.max_body, middlewares=[_gate(simulator)])
    for route in _twins(simulator):
        app.router.add_routes([route, web.RouteDef(route.method, f"/api{route.path}", route.handler, route.kwargs)])
    app.router.add_routes(_singles(simulator))
    return app


def _twins(simulator: Simulator) -> list[web.RouteDef]:
    prompting, listing, media = Prompting(simulator), Listing(simulator), Media(simulator)

    async def socket(request: web.Request) -> web.StreamResponse:
        return await simulator.hub.serve(request, simulator.queue.remaining)

    return [
        web.get("/ws", socket),
        web.get("/prompt", prompting.get_prompt),
        web.post("/prompt", prompting.post_prompt),
        web.get("/queue", prompting.get_queue),
        web.post("/queue", prompting.post_queue),
        web.get("/history", prompting.get_history),
        web.post("/history", prompting.post_history),
        web.get("/history/{prompt_id}", prompting.get_history_of),
        web.post("/interrupt", prompting.interrupt),
        web.post("/free", prompting.free),
        web.get("/view", media.view),
        web.post("/upload/image", media.upload_image),
        web.get("/system_stats", listing.system_stats),
        web.get("/object_info", listing.object_info),
        web.get("/object_info/{name}", listing.object_info_of),
        web.get("/features", listing.features),
        web.get("/embeddings", listing.embeddings),
        web.get("/extensions", listing.extensions),
        web.get("/models", listing.models),
        web.get("/models/{folder}", listing.models_of),
        web.get("/view_metadata/{folder}", listing.view_metadata),
    ]


def _singles(simulator: Simulator) -> list[web.RouteDef]:
    jobs, steering = Jobs(simulator), Steering(simulator)
    return [
        web.get("/", Listing(simulator).welcome),
        web.get("/api/jobs", jobs.listed),
        web.post("/api/jobs/cancel", jobs.cancel_many),
        web.get("/api/jobs/{job_id}", jobs.one),
        web.post("/api/jobs/{job_id}/cancel", jobs.cancel),
        web.get("/simulator/log", steering.log),
        web.get("/simulator/faults", steering.get_faults),
        web.post("/simulator/faults", steering.post_faults),
        web.delete("/simulator/faults", steering.delete_faults),
        web.post("/simulator/restart", steering.restart),
        web.get("/{anything:.*}", _nowhere),
    ]


async def _nowhere(_: web.Request) -> web.Response:
    return web.Response(status=404)


def _gate(simulator: Simulator) -> Middleware:
    """Every request passes here: foreign origins are turned away, and so is everyone while a fault says so."""

    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/simulator/") and simulator.faults.take(Moment.REQUEST, request.path):
            return web.Response(status=503, text="503: Service Unavailable")
        if request.headers.get("Sec-Fetch-Site") == "cross-site" or _is_foreign(request):
            return web.Response(status=403)
        if request.method == "OPTIONS":
            return web.Response()
        return await handler(request)

    return gate


def _is_foreign(request: web.Request) -> bool:
    """Whether a page of another origin calls a loopback host; a port that one side leaves out is not compared."""
    if "Origin" not in request.headers:
        return False
    host, origin = urlsplit(f"//{request.headers.get('Host', '').lower()}"), urlsplit(request.headers["Origin"].lower())
    if host.hostname not in LOOPBACK or not origin.hostname:
        return False
    ports = None in (host.port, origin.port) or host.port == origin.port
    return host.hostname != origin.hostname or not ports
