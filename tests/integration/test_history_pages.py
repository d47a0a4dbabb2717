"""History as pages: what Datasette shows of the index, with our plugin."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from datasette.app import Datasette
from datasette.utils import tilde_encode

from tests.integration.history_site import ODD_KEY, Site, make_queue, png, sidecar

LORAS = [{"name": "style.safetensors", "strength": 0.8}, {"name": "grain.safetensors", "strength": 1}]
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("site"))
    picture = png()
    made.add(
        {
            **{f"{n}.png": (picture, sidecar(n)) for n in range(4)},
            "styled.png": (picture, sidecar(10, prompt="a golden sunset", loras=LORAS, validation_score=0.9)),
            "big.png": (picture, sidecar(11, seed=2**64 - 1, tags=["demo", "sea side"], project="alps")),
            ODD_KEY: (picture, sidecar(12, minio_url="javascript:alert(1)")),
            "gone.png": (None, sidecar(13)),
            "evil.png": (picture, sidecar(14, prompt=EVIL, negative_prompt=EVIL, tags=[EVIL], workflow=EVIL)),
        }
    )
    make_queue(made.config.queue_db)
    return made


@pytest.fixture
async def datasette(site: Site) -> AsyncIterator[Any]:
    async with site.datasette() as opened:
        yield opened


async def page(datasette: Any, path: str) -> str:
    response = await datasette.client.get(path)
    assert (response.status_code, path) == (200, path)
    return str(response.text)


async def rows(datasette: Any, path: str) -> list[dict[str, Any]]:
    answer = await datasette.client.get(path)
    found: list[dict[str, Any]] = answer.json()
    return found


def row_path(key: str) -> str:
    return f"/index/generations/{tilde_encode(key)}"


async def test_front_page_leads_everywhere(datasette: Any) -> None:
    """Every link of the front page works, each canned query among them."""
    front = await page(datasette, "/")
    paths = re.findall(r'<li><a href="([^"]+)">', front.partition("cg-front")[2].partition("</ul>")[0])
    assert len(paths) == 10
    for path in paths:
        await page(datasette, path)


async def test_table_shows_the_newest_first_with_pictures(datasette: Any) -> None:
    """The list of generations begins with the newest; every row has a small picture that leads to the row."""
    text = await page(datasette, "/index/generations")
    shown = re.findall(r'<a class="cg-thumb" href="([^"]+)"[^>]*><img src="([^"]+)" loading="lazy"', text)
    assert shown[0] == (row_path("evil.png"), "/-/thumbnail/evil.png")
    assert shown[2] == (row_path(ODD_KEY), f"/-/thumbnail/{quote(ODD_KEY)}")
    assert len(shown) == 9


async def test_table_counts_facets(datasette: Any) -> None:
    """Presets, workflows, samplers, models and projects are counted beside the table."""
    answer = (await datasette.client.get("/index/generations.json?_size=1")).json()
    assert set(answer["facet_results"]) == {"preset", "workflow", "sampler", "model", "project"}
    assert answer["suggested_facets"] == []


async def test_table_shows_a_handful_of_columns_or_all(datasette: Any) -> None:
    """A list has the columns that people read; all of them, or some, on demand."""
    heads = {
        path: re.findall(r'<th [^>]*data-column="(\w+)"', await page(datasette, f"/index/generations{path}"))
        for path in ("", "?_all=1", "?_col=vae")
    }
    assert (heads[""][0], len(heads[""])) == ("prompt", 10)
    assert (len(heads["?_all=1"]), heads["?_col=vae"]) == (50, ["vae"])


async def test_search_of_the_table(datasette: Any) -> None:
    """Datasette's own search box uses the words of the index."""
    found = await rows(datasette, "/index/generations.json?_search=sunsets&_shape=array")
    assert [row["key"] for row in found] == ["styled.png"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("prompt_contains.json?text=unse", ["styled.png"]),
        ("prompt_words.json?words=lake+2", ["2.png"]),
        ("seed_range.json?seed_from=10001&seed_to=10002", ["1.png", "2.png"]),
        ("seed_range.json?seed_from=10015&seed_to=", ["big.png"]),
        ("validated.json?at_least=0.8", ["styled.png"]),
        ("lora_generations.json?lora=style.safetensors", ["styled.png"]),
    ],
)
async def test_canned_queries(datasette: Any, path: str, expected: list[str]) -> None:
    """The questions answer as JSON, too, with parameters as a web form sends them."""
    assert [row["key"] for row in await rows(datasette, f"/index/{path}&_shape=array")] == expected


async def test_canned_query_page(datasette: Any) -> None:
    """The answer of a question has pictures, LoRAs as labels, and a link to the output."""
    text = await page(datasette, "/index/prompt_contains?text=sunset")
    link = "/index/lora_generations?lora=style.safetensors"
    assert '<img src="/-/thumbnail/styled.png" loading="lazy"' in text
    assert f'<a class="cg-pill" href="{link}">style <b>0.8</b></a> <a class="cg-pill"' in text
    assert '<a href="http://127.0.0.1:8001/-/output/10.png">open</a>' in text


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select minio_url from generations where key = '1.png'", '<img src="http://127.0.0.1:8001/-/output/1.png"'),
        ("select 'a/b.png' as image", '<img src="/-/thumbnail/a/b.png"'),
        ("select 'http://127.0.0.1/v.mp4' as image", '<a href="http://127.0.0.1/v.mp4">v.mp4</a>'),
        (
            "select key, minio_url from generations where key like 'odd%'",
            f'<a href="/-/output/{quote(ODD_KEY)}">open</a>',
        ),
        ("select '[]' as loras", '<td class="col-loras">&nbsp;</td>'),
        ("select 'x' as loras", '<td class="col-loras">&nbsp;</td>'),
        ("select 3 as timestamp, 'b.json' as key", '<td class="col-key">b.json</td>'),
    ],
)
async def test_cells_of_any_sql(datasette: Any, sql: str, expected: str) -> None:
    """Pictures and labels go by the name of a column, whatever the SQL."""
    assert expected in await page(datasette, f"/index?sql={quote(sql)}")


async def test_row_page(datasette: Any) -> None:
    """A generation has the output itself, its LoRAs, and what is known of it; what is not known is not there."""
    text = await page(datasette, row_path("styled.png"))
    assert '<a href="/-/output/styled.png"><img src="/-/output/styled.png" alt="styled.png"></a>' in text
    assert 'href="/-/reproduce/styled.png.yaml"' in text
    assert "style <b>0.8</b>" in text
    assert "<dt>steps</dt><dd>20</dd>" in text
    assert "<dt>vae</dt>" not in text


async def test_row_of_a_big_seed(datasette: Any) -> None:
    """A seed beyond SQLite's integers is shown with all its digits, tags lead to their like."""
    text = await page(datasette, row_path("big.png"))
    assert "<dt>seed</dt><dd>18446744073709551615</dd>" in text
    assert 'href="/index/generations?tags__arraycontains=sea%20side">sea side</a>' in text


async def test_row_of_an_odd_key(datasette: Any) -> None:
    """Keys with every kind of character have pages, and only web addresses become links."""
    text = await page(datasette, row_path(ODD_KEY))
    assert f'src="/-/output/{quote(ODD_KEY)}"' in text
    assert "javascript:" not in text


@pytest.mark.parametrize(
    "path", ["/index/generations?_all=1", row_path("evil.png"), "/-/gallery", "/index/validated?at_least=0"]
)
async def test_nothing_from_a_sidecar_is_markup(datasette: Any, path: str) -> None:
    """Prompts, tags and names are text, wherever they are shown."""
    assert EVIL not in await page(datasette, path)


async def test_gallery_pages(datasette: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gallery goes through everything, newest first, each picture once."""
    monkeypatch.setattr("comfygen.datasette.pages.PAGE", 4)
    path, shown = "/-/gallery", []
    while path:
        text = await page(datasette, path)
        shown += re.findall(r'<img src="/-/thumbnail/([^"]+)"', text)
        older = re.search(r'<a href="([^"]+)">Older', text)
        path = older[1].replace("&amp;", "&") if older else ""
    expected = ["evil.png", "gone.png", quote(ODD_KEY), "big.png", "styled.png", "3.png", "2.png", "1.png", "0.png"]
    assert shown == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("q=lake&before=x", 7),
        ("q=alps", 1),
        ("q=nothing", 0),
        ("q=%22", 0),
        ("before=-1", 0),
        ("before=" + "9" * 30, 9),
    ],
)
async def test_gallery_search(datasette: Any, asked: str, expected: int) -> None:
    """Words narrow the gallery down; nonsense in the address does no harm."""
    assert (await page(datasette, f"/-/gallery?{asked}")).count("<img src=") == expected


async def test_failed_requests(datasette: Any) -> None:
    """What failed is told with its message, be it JSON or plain text, and file contents are not poured out."""
    failed = await rows(datasette, "/queue/failed_requests.json?_shape=array")
    assert [(row["name"], row["error"]) for row in failed] == [
        ("odd", "plain"),
        ("bad.yaml", "There is no workflow 'flux-devv'."),
    ]
    jobs = await rows(datasette, "/queue/failed_jobs.json?_shape=array")
    assert jobs == [{"id": "j1", "request": "odd", "error": "out of memory"}]
    assert "<span class='cg-quiet'>2 bytes</span>" in await page(datasette, "/queue/requests")


async def test_lora_table_has_pictures(datasette: Any) -> None:
    """The uses of LoRAs show what they were used for."""
    assert '<img src="/-/thumbnail/styled.png"' in await page(datasette, "/index/generation_loras")


async def test_new_rows_are_seen_at_once(site: Site, datasette: Any) -> None:
    """What is indexed while history is open is there with the next request."""
    with pytest.raises(AssertionError):
        await page(datasette, row_path("late.png"))
    site.add({"late.png": (None, sidecar(1, prompt="late"))})
    await page(datasette, row_path("late.png"))


async def test_secrets_and_paths_stay_private(site: Site, datasette: Any) -> None:
    """Datasette shows its metadata to everybody: nothing but the name of our settings is in it."""
    plugins = json.loads(await page(datasette, "/-/metadata.json"))["plugins"]
    settings = site.config.state_dir / "history" / "settings.json"
    assert (plugins, settings.stat().st_mode & 0o777) == ({"comfygen": {"settings": str(settings)}}, 0o600)


async def test_plugin_keeps_out_of_other_datasettes(tmp_path: Path, site: Site) -> None:
    """Without its settings the plugin adds no page, no style and no picture."""
    other = Datasette([str(site.config.index_db)])
    await other.invoke_startup()
    table = (await other.client.get("/index/generations")).text
    row = (await other.client.get(row_path("1.png"))).text
    gallery = await other.client.get("/-/gallery")
    other.executor.shutdown()
    other.databases["index"].close()
    assert ("cg-" in table + row, "comfygen.css" in table, gallery.status_code) == (False, False, 404)
