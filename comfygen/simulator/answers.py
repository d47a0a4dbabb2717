"""Answers: the bodies that many endpoints share."""

from __future__ import annotations

from typing import Any

from aiohttp import web


def answer(value: Any, *, status: int = 200) -> web.Response:
    """JSON, as Python writes it: a NaN that was posted comes back as the bare token."""
    return web.json_response(value, status=status)


def done() -> web.Response:
    """200 and nothing else."""
    return web.Response()


def broken() -> web.Response:
    """The bare 500 of a handler that raised."""
    response = web.Response(status=500, text="500 Internal Server Error\n\nServer got itself in trouble")
    response.force_close()
    return response
