"""Steering: the endpoints of the simulator itself: what happened, faults, restart."""

from __future__ import annotations

from aiohttp import web

from comfygen.simulator.answers import answer, done
from comfygen.simulator.faults import KINDS, Fault
from comfygen.simulator.server import Simulator


class Steering:
    """The handlers, over one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def log(self, _: web.Request) -> web.Response:
        return answer(self.simulator.journal.to_json())

    async def get_faults(self, _: web.Request) -> web.Response:
        kinds = {kind: {"when": moment.value, "what": what} for kind, (moment, what) in KINDS.items()}
        return answer({"faults": self.simulator.faults.to_json(), "kinds": kinds})

    async def post_faults(self, request: web.Request) -> web.Response:
        """One fault or a list of them; none is set if one of them is wrong."""
        try:
            body = await request.json()
            faults = [Fault.from_json(value) for value in (body if isinstance(body, list) else [body])]
        except ValueError as exc:
            return answer({"error": str(exc)}, status=400)
        for fault in faults:
            self.simulator.faults.add(fault)
        return answer({"faults": self.simulator.faults.to_json()})

    async def delete_faults(self, _: web.Request) -> web.Response:
        self.simulator.faults.clear()
        self.simulator.queue.wake.set()
        return done()

    async def restart(self, _: web.Request) -> web.Response:
        self.simulator.restart()
        return done()
