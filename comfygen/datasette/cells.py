"""Cells: how values of history look in tables, rows and the answers of any SQL. They go by the name of the column."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup

from comfygen.datasette import links
from comfygen.generation import SIDECAR_SUFFIX, media_type_of

NOTHING: Final = Markup("&nbsp;")
Draw = Callable[[Any, Any, Mapping[str, Any]], Markup | None]


def render(datasette: Any, database: str, table: str | None, column: str, value: Any, row: Any) -> Markup | None:
    """A cell as we draw it; None leaves it to Datasette. `table` is None in the answer of a query."""
    if database == links.QUEUE and isinstance(value, bytes):
        return Markup("<span class='cg-quiet'>{:,} bytes</span>").format(len(value))
    if database != links.INDEX or value in (None, ""):
        return None
    if table == "generation_loras" and column == "generation_key":
        return picture(datasette, value["value"] if isinstance(value, dict) else value)
    draw = DRAWN.get(column) if table in (None, links.TABLE) else None
    return draw(datasette, value, row) if draw else None


def picture(datasette: Any, key: str) -> Markup:
    """The thumbnail of an output, leading to its row."""
    return Markup(
        '<a class="cg-thumb" href="{row}" title="{key}"><img src="{image}" loading="lazy" alt="{key}"></a>'
    ).format(row=links.row(datasette, key), key=key, image=links.thumbnail(datasette, key))


def pills(names: list[tuple[str, str, str]]) -> Markup:
    """Small labels in a row: text, addition, and where each leads."""
    drawn = Markup('<a class="cg-pill" href="{2}">{0}{1}</a>')
    number = Markup(" <b>{}</b>")
    return Markup(" ").join(drawn.format(name, number.format(more) if more else "", href) for name, more, href in names)


def lora_pills(datasette: Any, loras: list[Any]) -> Markup:
    """LoRAs, each a label with its strength that leads to the generations that used it."""
    way = partial(links.query, datasette, "lora_generations")
    named = [(lora.get("name"), lora.get("strength")) for lora in loras if isinstance(lora, dict)]
    return pills(
        [
            (
                str(name).removesuffix(".safetensors"),
                f"{strength:g}" if isinstance(strength, int | float) else "",
                way(lora=str(name)),
            )
            for name, strength in named
        ]
    )


def _key(datasette: Any, value: Any, row: Mapping[str, Any]) -> Markup | None:
    return picture(datasette, value) if isinstance(value, str) and not value.endswith(SIDECAR_SUFFIX) else None


def _image(datasette: Any, value: Any, row: Mapping[str, Any]) -> Markup | None:
    """A picture by its key, or by its address."""
    if not isinstance(value, str):
        return None
    url = links.web_address(value)
    if url is None:
        return _key(datasette, value, row)
    if not (media_type_of(url.partition("?")[0]) or "").startswith("image/"):
        return Markup('<a href="{url}">{name}</a>').format(url=url, name=url.rpartition("/")[2])
    return Markup('<a class="cg-thumb" href="{url}"><img src="{url}" loading="lazy" alt=""></a>').format(url=url)


def _minio_url(datasette: Any, value: Any, row: Mapping[str, Any]) -> Markup | None:
    """Beside a thumbnail, a link is enough; alone, the address is the picture."""
    key = row["key"] if "key" in row.keys() else None  # noqa: SIM118 (rows of SQLite iterate over values)
    if not key:
        return _image(datasette, value, row)
    return Markup('<a href="{}">open</a>').format(links.web_address(value) or links.output(datasette, key))


def _loras(datasette: Any, value: Any, row: Mapping[str, Any]) -> Markup | None:
    return lora_pills(datasette, _listed(value)) or NOTHING


def _lora(datasette: Any, value: Any, row: Mapping[str, Any]) -> Markup | None:
    return lora_pills(datasette, [{"name": value}]) if isinstance(value, str) else None


def _tags(datasette: Any, value: Any, row: Mapping[str, Any]) -> Markup | None:
    table = datasette.urls.table(links.INDEX, links.TABLE)
    return (
        pills([(str(tag), "", f"{table}?tags__arraycontains={quote(str(tag))}") for tag in _listed(value)]) or NOTHING
    )


def _names(datasette: Any, value: Any, row: Mapping[str, Any]) -> Markup | None:
    """A list of names, one below the other."""
    return Markup("<br>").join(str(name) for name in _listed(value)) or NOTHING


def _moment(datasette: Any, value: Any, row: Mapping[str, Any]) -> Markup | None:
    """A UTC time without what nobody reads: its fractions are in the title."""
    if not isinstance(value, str) or len(value) != len("2026-01-04T01:10:32.123456Z"):
        return None
    drawn = Markup('<time datetime="{0}" title="{0}">{1}&nbsp;{2}</time>')
    return drawn.format(value, value[:10], value[11:19])


def _prompt(datasette: Any, value: Any, row: Mapping[str, Any]) -> Markup | None:
    return Markup('<div class="cg-prompt">{}</div>').format(value)


def _listed(value: Any) -> list[Any]:
    try:
        found = json.loads(value)
    except (TypeError, ValueError):
        return []
    return found if isinstance(found, list) else []


DRAWN: Final[Mapping[str, Draw]] = {
    "key": _key,
    "image": _image,
    "minio_url": _minio_url,
    "loras": _loras,
    "lora": _lora,
    "tags": _tags,
    "models": _names,
    "prompt": _prompt,
    "negative_prompt": _prompt,
    **dict.fromkeys(("timestamp", "queued_at", "submitted_at", "started_at", "finished_at", "generated_at"), _moment),
    **dict.fromkeys(("first_used", "last_used"), _moment),
}
