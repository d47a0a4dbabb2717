"""Addresses of the history pages: rows, thumbnails, outputs, request files."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from datasette.utils import tilde_encode

INDEX: Final = "index"
QUEUE: Final = "queue"
TABLE: Final = "generations"
THUMBNAIL: Final = "/-/thumbnail/"
OUTPUT: Final = "/-/output/"
REPRODUCE: Final = "/-/reproduce/"
GALLERY: Final = "/-/gallery"


def row(datasette: Any, key: str) -> str:
    """The page of a generation."""
    return str(datasette.urls.row(INDEX, TABLE, tilde_encode(key)))


def thumbnail(datasette: Any, key: str) -> str:
    return str(datasette.urls.path(THUMBNAIL + quote(key)))


def output(datasette: Any, key: str) -> str:
    return str(datasette.urls.path(OUTPUT + quote(key)))


def reproduce(datasette: Any, key: str) -> str:
    return str(datasette.urls.path(f"{REPRODUCE}{quote(key)}.yaml"))


def gallery(datasette: Any, **parameters: object) -> str:
    """The gallery, at some place of it, or of a search."""
    asked = urlencode({name: value for name, value in parameters.items() if value})
    return str(datasette.urls.path(GALLERY + (f"?{asked}" if asked else "")))


def query(datasette: Any, name: str, **parameters: str) -> str:
    """A canned query, answered for these parameters."""
    asked = f"?{urlencode(parameters)}" if parameters else ""
    return str(datasette.urls.path(f"/{INDEX}/{name}{asked}"))


def web_address(url: object) -> str | None:
    """The address itself if a browser may be sent there: http or https, and nothing else."""
    return url if isinstance(url, str) and urlsplit(url).scheme in {"http", "https"} else None
