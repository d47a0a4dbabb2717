"""Listing: the read-only endpoints that say what the server is and has."""

from __future__ import annotations

import platform
from typing import Any

from aiohttp import web

from comfygen.simulator.answers import answer
from comfygen.simulator.server import Simulator

VERSION = "0.28.1"
WELCOME = f"This is no ComfyUI, but a simulator that speaks the protocol of ComfyUI {VERSION}. It paints landscapes.\n"
MEMORY = 16 * 2**30


class Listing:
    """The handlers, over one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def welcome(self, _: web.Request) -> web.Response:
        return web.Response(text=WELCOME)

    async def system_stats(self, _: web.Request) -> web.Response:
        """As ComfyUI's, and `simulated`: outputs that were made here must be known for what they are."""
        system: dict[str, Any] = {
            "os": "linux",
            "ram_total": MEMORY,
            "ram_free": MEMORY // 2,
            "comfyui_version": VERSION,
            "required_frontend_version": "1.45.21",
            "installed_templates_version": "0.11.11",
            "required_templates_version": "0.11.11",
            "comfy_package_versions": [],
            "python_version": platform.python_version(),
            "pytorch_version": "none (simulated)",
            "embedded_python": False,
            "deploy_environment": "simulator",
            "argv": ["comfygen", "simulator"],
            "simulated": True,
        }
        device = {"name": "simulated", "type": "cpu", "index": None}
        memory = dict.fromkeys(("vram_total", "vram_free", "torch_vram_total", "torch_vram_free"), MEMORY)
        return answer({"system": system, "devices": [device | memory]})

    async def object_info(self, _: web.Request) -> web.Response:
        catalogue = self.simulator.catalogue
        return answer({name: catalogue.described(name) for name in catalogue.classes})

    async def object_info_of(self, request: web.Request) -> web.Response:
        name, catalogue = request.match_info["name"], self.simulator.catalogue
        return answer({name: catalogue.described(name)} if name in catalogue.classes else {})

    async def features(self, _: web.Request) -> web.Response:
        return answer(self.simulator.hub.features)

    async def embeddings(self, _: web.Request) -> web.Response:
        return answer([name.rsplit(".", 1)[0] for name in self.simulator.catalogue.models["embeddings"]])

    async def extensions(self, _: web.Request) -> web.Response:
        return answer([])

    async def models(self, _: web.Request) -> web.Response:
        return answer(list(self.simulator.catalogue.models))

    async def models_of(self, request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        models = self.simulator.catalogue.models
        return answer(models[folder]) if folder in models else web.Response(status=404)

    async def view_metadata(self, request: web.Request) -> web.Response:
        """The header of a model file: empty, for there is no file."""
        names = self.simulator.catalogue.models.get(request.match_info["folder"], [])
        known = request.query.get("filename") in names
        return answer({}) if known else web.Response(status=404)
