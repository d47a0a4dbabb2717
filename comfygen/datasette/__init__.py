"""The Datasette plugin: history with pictures. In a Datasette that is not ours it does nothing.

Only hooks that Datasette 0.65 and 1.0 have in common are used.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

from datasette import hookimpl
from datasette.utils import tilde_decode

from comfygen import __version__
from comfygen.datasette import cells, links, pages
from comfygen.datasette.serving import history_command
from comfygen.datasette.settings import settings_of
from comfygen.datasette.showing import Showing

__all__ = ["history_command"]

F = TypeVar("F", bound=Callable[..., Any])
CSS = f"/-/static-plugins/comfygen/comfygen.css?{quote(__version__)}"
ROUTES = [
    (r"^/-/gallery$", pages.gallery),
    (r"^/-/thumbnail/(?P<key>.+)$", pages.send_thumbnail),
    (r"^/-/output/(?P<key>.+)$", pages.send_output),
    (r"^/-/reproduce/(?P<key>.+)\.yaml$", pages.send_recipe),
]


def hook(function: F) -> F:
    """Marks a hook, and keeps its type."""
    marked: F = hookimpl(function)
    return marked


@hook
def startup(datasette: Any) -> None:
    """Where rich is installed, Datasette writes every 404 into the log with all local variables, for half a second of
    CPU: an address that somebody mistypes should cost neither. Python's own traceback of real errors stays."""
    if settings_of(datasette) is not None:
        from datasette import handle_exception  # it brings all of Datasette

        handle_exception.rich = None


@hook
def render_cell(row: Any, value: Any, column: str, table: str | None, database: str, datasette: Any) -> Any:
    """Pictures, pills and readable times."""
    if settings_of(datasette) is None:
        return None
    return cells.render(datasette, database, table, column, value, row)


@hook
def register_routes(datasette: Any) -> Any:
    """Gallery, outputs, thumbnails, request files; nothing in a Datasette that is not ours."""
    return ROUTES if settings_of(datasette) else []


@hook
def extra_css_urls(datasette: Any) -> list[str]:
    """Our own small style sheet."""
    return [CSS] if settings_of(datasette) else []


@hook
def menu_links(datasette: Any) -> list[dict[str, str]]:
    """The ways into history, on every page."""
    if settings_of(datasette) is None:
        return []
    return [
        {"href": links.gallery(datasette), "label": "Gallery"},
        {"href": str(datasette.urls.table(links.INDEX, links.TABLE)), "label": "All generations"},
        {"href": links.query(datasette, "lora_usage"), "label": "LoRA usage"},
    ]


@hook
def extra_template_vars(
    datasette: Any, view_name: str, database: str | None, table: str | None, request: Any
) -> Callable[[], Awaitable[dict[str, Any]]] | dict[str, Any]:
    """`comfygen`: what our templates need besides the row; absent, they are Datasette's own."""
    if settings_of(datasette) is None or (database, table) != (links.INDEX, links.TABLE):
        return {}

    async def found() -> dict[str, Any]:
        key = tilde_decode(request.url_vars["pks"]) if view_name == "row" else None
        return {"comfygen": Showing(datasette, await pages.loras_of(datasette, key) if key else ())}

    return found
