"""Control: the knobs over HTTP, `POST /double/<knob>` with a JSON object of arguments, for tests in other processes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from tests.minio_double.double import MinioDouble

# These knobs end every connection, the one that asks for it included: they happen after the answer.
_AFTERWARDS = ("refuse", "restart")


async def control(double: MinioDouble, http: web.BaseRequest) -> web.StreamResponse:
    """Turn a knob. Answers {"result": …}, or 400 with the reason."""
    name = http.path.removeprefix("/double/")
    knob = getattr(double.knobs, name, None) if not name.startswith("_") else None
    if knob is None or http.method != "POST":
        return web.json_response({"error": f"there is no knob {name!r}"}, status=404)
    try:
        arguments = json.loads(await http.read() or b"{}")
        if name in _AFTERWARDS:
            return await _answer_first(double, http, knob(**arguments))
        result = knob(**arguments)
        if inspect.isawaitable(result):
            result = await result
    except (TypeError, ValueError, KeyError) as exc:
        return web.json_response({"error": f"{name}: {exc}"}, status=400)
    return web.json_response({"result": result})


async def _answer_first(
    double: MinioDouble, http: web.BaseRequest, turning: Coroutine[Any, Any, None]
) -> web.StreamResponse:
    response = web.json_response({"result": None})
    await response.prepare(http)
    await response.write_eof()
    double.later(turning)
    return response
