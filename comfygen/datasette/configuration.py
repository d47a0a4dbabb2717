"""The configuration of Datasette for history: titles, canned queries, facets, settings. One dict, written as JSON."""

from __future__ import annotations

import html
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from comfygen.datasette import links
from comfygen.datasette.settings import KEY, NAME
from comfygen.index.fulltext import WORDS
from comfygen.index.queries import QUERIES, Query

FACETS: Final = ("preset", "workflow", "sampler", "model", "project")
SETTINGS: Final = {
    "suggest_facets": "0",  # guessing which columns to count costs two seconds per page at a million rows
    "allow_download": "0",
    "sql_time_limit_ms": "2000",
    "facet_time_limit_ms": "500",
    "max_returned_rows": "2000",
    "default_page_size": "50",
    "truncate_cells_html": "300",
    "default_cache_ttl": "0",  # a page that is loaded again shows what was made meanwhile
}
FAILED_REQUESTS: Final = Query(
    name="failed_requests",
    title="Failed requests",
    description="Requests that could not be done, the latest first, and why.",
    sql="""select name, received_at, ended_at,
  coalesce(case when json_valid(error) then json_extract(error, '$.message') end, error) as error, id
from requests
where state = 'failed'
order by received_at desc
limit 200""",
)
FAILED_JOBS: Final = Query(
    name="failed_jobs",
    title="Failed jobs",
    description="Jobs that were given up, the latest first, and why.",
    sql="""select j.id, r.name as request,
  coalesce(case when json_valid(j.error) then json_extract(j.error, '$.message') end, j.error) as error
from jobs j join requests r on r.id = j.request_id
where j.state = 'failed'
order by r.received_at desc, j.id
limit 200""",
)
NEEDED: Final = {"requests": (FAILED_REQUESTS,), "jobs": (FAILED_JOBS,)}
MORE: Final = (
    ("/-/gallery", "Gallery", "Every picture, newest first."),
    ("/index/generations", "All generations", "Filter, sort, count, export, or write your own SQL."),
)


def metadata(*, settings: Path, queue_tables: Sequence[str] = ()) -> dict[str, Any]:
    """What `datasette serve --metadata` takes. `queue_tables` are the tables that queue.db has by now."""
    failed = [query for table, queries in NEEDED.items() if table in queue_tables for query in queries]
    return {
        "title": "ComfyGen history",
        "description_html": _front(failed),
        "plugins": {NAME: {KEY: str(settings)}},
        "databases": {
            links.INDEX: {
                "description": "Every generation ever made. Rebuilt from the store at any time.",
                "queries": {query.name: _canned(query) for query in QUERIES},
                "tables": {
                    links.TABLE: {
                        "title": "Generations",
                        "sort_desc": "timestamp",
                        "facets": list(FACETS),
                        "fts_table": WORDS.name,
                        "fts_pk": "rowid",
                        "label_column": "key",
                    },
                    "loras": {"title": "LoRAs", "label_column": "name"},
                    "generation_loras": {"title": "LoRAs of generations"},
                    "problems": {"title": "Sidecars that cannot be read"},
                    "sources": {"title": "Stores"},
                    "_sqlite_migrations": {"hidden": True},
                },
            },
            links.QUEUE: {
                "description": "Requests and jobs, and where each of them stands.",
                "queries": {query.name: _canned(query) for query in failed},
                "tables": {
                    "requests": {"title": "Requests", "sort_desc": "received_at", "label_column": "name"},
                    "transitions": {"sort_desc": "id"},
                    "_sqlite_migrations": {"hidden": True},
                },
            },
        },
    }


def tables_of(path: Path) -> list[str]:
    """The tables of a database; none if it is not there, or no database."""
    if not path.exists():
        return []
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return []
    return [row[0] for row in rows]


def write_metadata(path: Path, *, settings: Path, queue_tables: Sequence[str]) -> None:
    """Write the configuration for Datasette to read."""
    plain = metadata(settings=settings, queue_tables=queue_tables)
    path.write_text(json.dumps(plain, indent=2, ensure_ascii=False), encoding="utf-8")


def _canned(query: Query) -> dict[str, Any]:
    return {
        "sql": query.sql,
        "title": query.title,
        "description": query.description,
        "params": list(query.parameters),
        "hide_sql": True,
    }


def _front(failed: Sequence[Query]) -> str:
    """The front page: a way to each question."""
    ways = [
        *MORE,
        *((f"/{links.INDEX}/{query.name}", query.title, query.description) for query in QUERIES),
        *((f"/{links.QUEUE}/{query.name}", query.title, query.description) for query in failed),
    ]
    item = '<li><a href="{}">{}</a><span>{}</span></li>'
    return f'<ul class="cg-front">{"".join(item.format(*map(html.escape, way)) for way in ways)}</ul>'
