"""Media: GET /view and POST /upload/image, with ComfyUI's rules about names."""

from __future__ import annotations

import os
from pathlib import Path

from aiohttp import web
from aiohttp.web_request import FileField

from comfygen.images import ImageUnusable, animated_webp, decode, png_bytes
from comfygen.simulator.answers import answer, broken
from comfygen.simulator.faults import Moment
from comfygen.simulator.folders import KINDS, media_type, split_mark
from comfygen.simulator.painting import flat
from comfygen.simulator.server import Simulator


class Media:
    """The handlers, over one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def view(self, request: web.Request) -> web.StreamResponse:
        """A file of one of the folders: 400 and 403 for tricks with paths, 404 for what is not there."""
        name, kind = split_mark(request.query.get("filename", ""))
        kind = kind or request.query.get("type", "output")
        if not request.query.get("filename"):
            return web.Response(status=404 if "filename" not in request.query else 400)
        if name.startswith("/") or ".." in name or kind not in KINDS or "\0" in name:
            return web.Response(status=400)
        folder = self.simulator.folders.inside(kind, request.query.get("subfolder", ""))
        if folder is None:
            return web.Response(status=403)
        path = folder / os.path.basename(name)  # noqa: PTH119 - a name, not a path
        faults = self.simulator.faults.take(Moment.VIEW, name)
        if "view_404" in faults or not path.is_file():
            return web.Response(status=404)
        headers = {"Content-Disposition": f'filename="{path.name}"', "Content-Type": media_type(path.name)}
        if "truncated_view" in faults:
            return web.Response(body=path.read_bytes()[: path.stat().st_size // 2], headers=headers)
        if "preview" in request.query or request.query.get("channel") in {"rgb", "a"}:
            return _made_anew(request, path, headers)
        return web.FileResponse(path, headers=headers)

    async def upload_image(self, request: web.Request) -> web.Response:
        """Keep an uploaded file; another of the same name is kept beside it unless `overwrite` says otherwise."""
        form = await request.post()
        field, kind = form.get("image"), str(form.get("type", "input"))
        if field is None:
            return web.Response(status=400)
        if kind not in KINDS or not isinstance(field, FileField):  # a part without a file name is no file
            return broken()
        subfolder = str(form.get("subfolder", ""))
        folder = self.simulator.folders.inside(kind, subfolder)
        if folder is None or self.simulator.folders.inside(kind, subfolder, field.filename) is None:
            return web.Response(status=400)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            content = field.file.read()
            name = field.filename if form.get("overwrite") in {"true", "1"} else _free(folder, field.filename, content)
            (folder / name).write_bytes(content)
        except (OSError, ValueError):  # a slash in the name, or one that the file system does not take
            return broken()
        return answer({"name": name, "subfolder": subfolder, "type": kind})


def _free(folder: Path, name: str, content: bytes) -> str:
    """The name itself if it is free or holds the same bytes, else `name (1).png` and so on."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    chosen, number = name, 0
    while (path := folder / chosen).exists() and path.read_bytes() != content:
        number += 1
        chosen = f"{stem} ({number}){suffix}"
    return chosen


def _made_anew(request: web.Request, path: Path, headers: dict[str, str]) -> web.Response:
    """`preview` as WebP, `channel` as PNG; ComfyUI fails at both where the file is no picture."""
    try:
        picture = decode(path.read_bytes())
        if "preview" in request.query:
            return web.Response(body=animated_webp([picture], 1), headers=headers | {"Content-Type": "image/webp"})
        if request.query["channel"] == "a":
            picture = flat(0xFFFFFF, picture.width, picture.height)
        body = png_bytes(picture.rgb, picture.width, picture.height)
        return web.Response(body=body, headers=headers | {"Content-Type": "image/png"})
    except ImageUnusable:
        return broken()
