"""Showing: what the templates of generations ask for while they draw rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from markupsafe import Markup

from comfygen.datasette import cells, links
from comfygen.generation import media_type_of

LISTED: Final = (
    *("prompt", "workflow", "preset", "seed", "steps", "cfg", "sampler", "scheduler"),
    *("validation_score", "timestamp"),
)
ADDRESSED: Final = ("_col", "_nocol", "_all")
GROUPS: Final = {
    "How it was made": (
        *("workflow", "preset", "seed", "steps", "cfg", "sampler", "scheduler", "denoise"),
        *("models", "vae", "width", "height", "frames", "fps", "validation_score"),
    ),
    "Where it belongs": ("project", "tags", "timestamp", "request", "job", "id", "batch_index", "batch_of"),
    "How it ran": (
        *("backend", "comfyui_version", "simulated", "attempts", "run_seconds"),
        *("queued_at", "submitted_at", "started_at", "finished_at", "generated_at"),
    ),
    "What is stored": (
        *("key", "minio_url", "media_type", "bytes", "sha256", "graph_sha256", "input_image"),
        *("image_index", "output_node", "image_missing", "source", "sidecar_etag", "comfygen_version"),
    ),
}
FLAGS: Final = {"simulated", "image_missing"}


class Showing:
    """One page with generations: a list of them, or a single one with its LoRAs."""

    def __init__(self, datasette: Any, loras: Sequence[Any]) -> None:
        self._datasette = datasette
        self.loras = cells.lora_pills(datasette, list(loras)) if loras else Markup("")

    def columns(self, request: Any, columns: Sequence[Any]) -> list[Any]:
        """The columns that a list shows: a handful, unless the address asks for others."""
        if any(name in request.args for name in ADDRESSED):
            return [column for column in columns if column["name"] != "key"]
        return [column for name in LISTED for column in columns if column["name"] == name]

    def picture(self, row: Any) -> Markup:
        """The thumbnail of a row."""
        return cells.picture(self._datasette, row["key"])

    def large(self, row: Any) -> Markup:
        """The output itself, as large as the page allows."""
        key = row["key"]
        url, kind = links.output(self._datasette, key), (media_type_of(key) or "").partition("/")[0]
        if kind == "video":
            drawn = '<video src="{url}" poster="{image}" controls loop muted playsinline preload="metadata"></video>'
        elif kind == "audio":
            drawn = '<audio src="{url}" controls></audio>'
        elif kind == "image":
            drawn = '<a href="{url}"><img src="{url}" alt="{key}"></a>'
        else:
            drawn = '<a href="{url}"><img src="{image}" alt="{key}"></a>'
        return Markup(drawn).format(url=url, key=key, image=links.thumbnail(self._datasette, key))

    def output(self, row: Any) -> str:
        return links.output(self._datasette, row["key"])

    def reproduce(self, row: Any) -> str:
        return links.reproduce(self._datasette, row["key"])

    def groups(self, row: Any, shown: Any) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
        """What is known of a row, in groups of name and value; `shown` are its cells as they are drawn."""
        for title, names in GROUPS.items():
            known = [(name, _value(name, row, shown)) for name in names if _is_known(name, row)]
            if known:
                yield title, known


def _is_known(name: str, row: Any) -> bool:
    if name == "seed":
        return row["seed_text"] is not None
    return row[name] not in ((0,) if name in FLAGS else (None, "", "[]"))


def _value(name: str, row: Any, shown: Any) -> Any:
    if name == "seed":
        return row["seed_text"]
    if name in FLAGS:
        return "yes"
    return row[name] if name == "key" else shown.display(name)
