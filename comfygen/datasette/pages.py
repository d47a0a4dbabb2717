"""The pages that Datasette does not have: gallery, outputs, thumbnails, request files."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from datasette.utils.asgi import Response

from comfygen.datasette import links
from comfygen.datasette.outputs import Found, address, find, local_file
from comfygen.datasette.sending import send_file
from comfygen.datasette.settings import Settings, settings_of
from comfygen.datasette.thumbnails import placeholder, thumbnail
from comfygen.errors import ComfyGenError, RequestInvalid, StoreError
from comfygen.index.queries import GALLERY, GALLERY_WORDS
from comfygen.lora import Lora

PAGE: Final = 60
NEWEST: Final = 2**62


async def gallery(datasette: Any, request: Any) -> Any:
    """Every picture, newest first, page by page, or those whose prompt has some words."""
    words = request.args.get("q", "").strip()
    before = request.args.get("before", "")
    place = int(before) if before.lstrip("-").isdigit() and len(before) < 19 else NEWEST
    sql = GALLERY_WORDS if words else GALLERY
    asked = {"before": place, "size": PAGE + 1} | ({"words": words} if words else {})
    rows = list((await datasette.get_database(links.INDEX).execute(sql, asked)).rows)
    shown = rows[:PAGE]
    context = {
        "words": words,
        "items": [_item(datasette, row) for row in shown],
        "action": links.gallery(datasette),
        "newest": links.gallery(datasette, q=words) if before else None,
        "older": links.gallery(datasette, q=words, before=shown[-1]["rowid"]) if len(rows) > PAGE else None,
    }
    return Response.html(await datasette.render_template("comfygen_gallery.html", context, request=request))


def _item(datasette: Any, row: Any) -> dict[str, object]:
    return {
        "prompt": row["prompt"],
        "timestamp": row["timestamp"],
        "href": links.row(datasette, row["key"]),
        "thumbnail": links.thumbnail(datasette, row["key"]),
        "kind": (row["media_type"] or "").partition("/")[0],
    }


async def send_thumbnail(datasette: Any, request: Any) -> Any:
    """The small picture of an output, or a placeholder that says why there is none."""
    settings, found = await _asked(datasette, request)
    if found is None:
        return _missing()
    try:
        body = await thumbnail(settings, found)
    except (ComfyGenError, OSError):
        return _sent(placeholder(found.key), "image/svg+xml", "no-store")
    return _sent(body, "image/webp", "private, max-age=3600")


def _sent(body: bytes, kind: str, caching: str) -> Any:
    headers = {"cache-control": caching, "x-content-type-options": "nosniff"}
    return Response(body, headers=headers, content_type=kind)


async def send_output(datasette: Any, request: Any, send: Any) -> Any:
    """The output itself: a file of the folder store, or the way to the bucket."""
    settings, found = await _asked(datasette, request)
    if found is None:
        return _missing()
    try:
        if settings.store.folder is None:
            return Response.redirect(await address(settings.store, found.key), headers={"cache-control": "no-store"})
        path = await asyncio.to_thread(local_file, settings.store.folder, found.key)
        await send_file(send, request, path, key=found.key)
    except (StoreError, FileNotFoundError):
        return _missing(f"{found.key} is not in the store.")
    return None


async def send_recipe(datasette: Any, request: Any) -> Any:
    """The request file that makes a generation again."""
    settings, found = await _asked(datasette, request)
    if found is None:
        return _missing()
    database = datasette.get_database(links.INDEX)
    row = (await database.execute("select * from generations where key = :key", {"key": found.key})).first()
    loras = [Lora(**lora) for lora in await loras_of(datasette, found.key)]
    try:
        text = await asyncio.to_thread(_recipe, settings, dict(row), loras)
    except RequestInvalid as exc:
        return Response.text(f"This generation cannot be said as a request file.\n{exc}\n", status=422)
    return Response(text, content_type="application/yaml; charset=utf-8", headers={"x-content-type-options": "nosniff"})


async def loras_of(datasette: Any, key: str) -> list[dict[str, Any]]:
    """The LoRAs of a generation in chain order: name, strength, strength_clip, branch."""
    sql = (
        "select l.name, gl.strength, gl.strength_clip, gl.branch from generation_loras gl "
        "join loras l on l.id = gl.lora_id where gl.generation_key = :key order by gl.position"
    )
    return [dict(row) for row in (await datasette.get_database(links.INDEX).execute(sql, {"key": key})).rows]


def _recipe(settings: Settings, row: dict[str, Any], loras: list[Lora]) -> str:
    from comfygen.datasette.reproducing import recipe

    return recipe(row, loras, _library(settings.workflows, settings.presets)).text


@lru_cache(maxsize=4)
def _library(workflows: Path | None, presets: Path | None) -> Any:
    from comfygen.resources import Library

    return Library(workflows, presets)


async def _asked(datasette: Any, request: Any) -> tuple[Settings, Found | None]:
    """The output that an address means, if history knows it; keys are percent-encoded in addresses."""
    settings = settings_of(datasette)
    if settings is None:
        raise LookupError("the routes are registered for a Datasette with settings only")
    return settings, await find(datasette, unquote(request.url_vars["key"]))


def _missing(why: str = "There is no such output in history.") -> Any:
    """A 404 in plain words. Datasette's own would be redirected for keys with a percent sign."""
    return Response.text(f"{why}\n", status=404)
