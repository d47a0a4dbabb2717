"""Keys with blanks, signs and any script: from a foreign writer through event, index and query to the person's link."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from comfygen.bucket_policy import wanted_policy
from comfygen.index import Index
from tests.integration.comfygend.test_bucket_weather import Scene, scene
from tests.integration.minio_stage import BUCKET

STAMP = "20260104_011032_"
ODD = [
    *("two words", "a+b", "100%", "a%20b", "%2F", "#1", "why?", "grüße", "u\u0308 is no ü", "🚗 car", "👩‍🚀"),
    *("a&b=c", "it's", '"quoted"', "[x]", "semi;colon", "at@home", "~tilde", "日本", "<tag>", "a:b", "in/a/folder"),
]
NAMES = [STAMP + odd for odd in ODD]
EXPECTED = {f"{name}.png": f"about {name}" for name in NAMES}


async def write_all(made: Scene) -> None:
    for name in NAMES:
        await made.write(name, f"about {name}", minio_url=made.foreign.settings.address(f"{name}.png"))


async def check(made: Scene) -> None:
    """Everything is found by query, listed under its key, and opens by its link."""
    await made.stage.store.apply_policy(wanted_policy("public", bucket=BUCKET))
    listed = [stored.key async for stored in made.stage.store.list()]
    assert {key for key in listed if key.endswith(".png")} == set(EXPECTED)
    async with aiohttp.ClientSession() as person:
        for key, prompt in EXPECTED.items():
            found = {row.key: row for row in await made.index(lambda index: index.contains(prompt))}  # noqa: B023
            async with person.get(URL(str(found[key].minio_url), encoded=True)) as answer:
                assert (answer.status, await answer.read()) == (200, b"picture")


@pytest.mark.parametrize("dialect", ["minio", "rustfs", "old"])
async def test_odd_keys_survive_everything(tmp_path: Path, dialect: str) -> None:
    """By events alone, as each kind of server spells them; and gone again by them."""
    async with scene(tmp_path, dialect) as made:
        before = made.indexer.last
        await write_all(made)
        await made.shows(EXPECTED)
        await check(made)
        for name in NAMES:
            await made.remove(name)
        await made.shows({})
        assert made.indexer.last is before


async def test_odd_keys_survive_without_events(tmp_path: Path) -> None:
    """A server that cannot notify: the listing has them all."""
    async with scene(tmp_path, "aws") as made:
        assert made.ear.told()["state"] == "unsupported"
        await write_all(made)
        await made.agrees(EXPECTED)
        await check(made)


async def test_odd_prompts_are_found_as_they_are(tmp_path: Path) -> None:
    """No sign means anything to a query but itself."""
    async with scene(tmp_path) as made:
        await write_all(made)
        await made.shows(EXPECTED)

        def found(index: Index) -> set[str]:
            return {row.key for row in index.contains("100%")}

        assert await made.index(found) == {f"{STAMP}100%.png"}
