"""History as files: outputs with ranges, thumbnails, and who may not have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from comfygen.datasette.outputs import local_file
from comfygen.datasette.sending import Span, wanted
from comfygen.errors import NoSuchKey
from comfygen.images import check_image
from comfygen.videos import encode_mp4
from tests.integration.history_site import BUCKET, ODD_KEY, Site, png, sidecar

MOVIE = encode_mp4([bytes((n, 90, 200)) * (64 * 48) for n in range(3)], 8, width=64, height=48)
PICTURE = png()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("site"))
    made.add(
        {
            "picture.png": (PICTURE, sidecar(1, sha256="a" * 64)),
            ODD_KEY: (PICTURE, sidecar(2)),
            "movie.mp4": (MOVIE, sidecar(3)),
            "gone.png": (None, sidecar(4)),
            "broken.png": (b"\x89PNG\r\n\x1a\nno more", sidecar(5)),
            "sound.flac": (b"fLaC", sidecar(6)),
            "page.html": (b"<script>alert(1)</script>", sidecar(7)),
            "link.png": (None, sidecar(8)),
            "empty.png": (b"", sidecar(9)),
        }
    )
    (made.outputs.parent / "secret.png").write_bytes(b"secret")
    (made.outputs / "link.png").symlink_to(made.outputs.parent / "secret.png")
    (made.outputs / "unknown.png").write_bytes(PICTURE)
    return made


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Any]:
    async with site.datasette() as opened:
        yield opened.client


@pytest.mark.parametrize(
    ("key", "kind", "body"),
    [
        ("picture.png", "image/png", PICTURE),
        (ODD_KEY, "image/png", PICTURE),
        ("movie.mp4", "video/mp4", MOVIE),
        ("empty.png", "image/png", b""),
    ],
)
async def test_output(client: Any, key: str, kind: str, body: bytes) -> None:
    """An output arrives whole, as what it is."""
    answer = await client.get(f"/-/output/{quote(key)}")
    found = (answer.status_code, answer.headers["content-type"], answer.headers["content-length"], answer.content)
    assert found == (200, kind, str(len(body)), body)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-9", (206, f"bytes 0-9/{len(MOVIE)}", MOVIE[:10])),
        ("bytes=10-", (206, f"bytes 10-{len(MOVIE) - 1}/{len(MOVIE)}", MOVIE[10:])),
        ("bytes=-5", (206, f"bytes {len(MOVIE) - 5}-{len(MOVIE) - 1}/{len(MOVIE)}", MOVIE[-5:])),
        (f"bytes=0-{10**9}", (206, f"bytes 0-{len(MOVIE) - 1}/{len(MOVIE)}", MOVIE)),
        (f"bytes={10**9}-", (416, f"bytes */{len(MOVIE)}", b"")),
        ("bytes=0-1,4-5", (200, None, MOVIE)),
    ],
)
async def test_ranges(client: Any, asked: str, expected: tuple[int, str | None, bytes]) -> None:
    """Players get the part they ask for, and are told when there is none."""
    answer = await client.get("/-/output/movie.mp4", headers={"range": asked})
    assert (answer.status_code, answer.headers.get("content-range"), answer.content) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=-", None),
        ("lines=1-2", None),
        ("bytes=5-2", None),
        ("bytes = 1 - 2", Span(start=1, end=3)),
        ("bytes=-100", Span(start=0, end=8)),
    ],
)
def test_wanted(header: str | None, expected: Span | None) -> None:
    """Headers that say nothing sensible are as if they were not there."""
    assert wanted(header, 8) == expected


@pytest.mark.parametrize("header", ["bytes=8-", "bytes=-0"])
def test_nothing_is_wanted(header: str) -> None:
    """A range without a byte in it cannot be answered."""
    with pytest.raises(ValueError, match="not satisfiable"):
        wanted(header, 8)


async def test_cached_output(client: Any) -> None:
    """A browser that has it is told so; a range of another version is answered in full."""
    etag = (await client.get("/-/output/movie.mp4")).headers["etag"]
    again = await client.get("/-/output/movie.mp4", headers={"if-none-match": etag})
    other = await client.get("/-/output/movie.mp4", headers={"range": "bytes=0-1", "if-range": '"other"'})
    same = await client.get("/-/output/movie.mp4", headers={"range": "bytes=0-1", "if-range": etag})
    assert [answer.status_code for answer in (again, other, same)] == [304, 200, 206]


async def test_what_a_browser_would_run_is_a_download(client: Any) -> None:
    """An output that is no picture, film or sound is never interpreted."""
    headers = (await client.get("/-/output/page.html")).headers
    found = [headers[name] for name in ("content-type", "content-disposition", "x-content-type-options")]
    assert found == ["application/octet-stream", "attachment", "nosniff"]


@pytest.mark.parametrize(
    "key",
    ["gone.png", "unknown.png", "link.png", "../secret.png", "..%2Fsecret.png", ".comfygen/x", "picture.png.json"],
)
async def test_what_history_does_not_know_is_not_sent(client: Any, key: str) -> None:
    """Only regular files of the store that have a row are ever sent."""
    assert (await client.get(f"/-/output/{key}")).status_code == 404


@pytest.mark.parametrize(
    "key", ["../secret.png", ".hidden.png", "a/../../secret.png", "", "folder", "link.png", "x\0y", "/etc/passwd"]
)
def test_local_file_stays_inside(site: Site, key: str) -> None:
    """A key never leads out of the store, even if a row should say so."""
    (site.outputs / "folder").mkdir(exist_ok=True)
    with pytest.raises(NoSuchKey):
        local_file(site.outputs, key)


def test_linked_folder_stays_inside(site: Site) -> None:
    """Nor does a folder that is a link to elsewhere."""
    elsewhere = site.outputs / "elsewhere"
    elsewhere.symlink_to(site.outputs.parent)
    with pytest.raises(NoSuchKey):
        local_file(site.outputs, "elsewhere/secret.png")
    elsewhere.unlink()


@pytest.mark.parametrize(("key", "size"), [("picture.png", (256, 256)), (ODD_KEY, (256, 256)), ("movie.mp4", (64, 48))])
async def test_thumbnail(client: Any, key: str, size: tuple[int, int]) -> None:
    """Images and the first frame of films become small WebP files, in proportion."""
    answer = await client.get(f"/-/thumbnail/{quote(key)}")
    facts = check_image(answer.content)
    assert (answer.headers["content-type"], facts.width, facts.height) == ("image/webp", *size)


async def test_thumbnail_is_made_once(site: Site, client: Any) -> None:
    """What was made is kept under the hash of the output, and serves even when the output is gone."""
    first = (await client.get("/-/thumbnail/picture.png")).content
    kept = site.config.state_dir / "thumbs" / f"{'a' * 64}.webp"
    assert kept.read_bytes() == first
    hidden = site.outputs / "picture.png"
    away = hidden.rename(site.outputs / "away.png")
    second = (await client.get("/-/thumbnail/picture.png")).content
    away.rename(hidden)
    assert first == second


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("gone.png", "no preview"),
        ("broken.png", "no preview"),
        ("sound.flac", "audio"),
        ("page.html", "file"),
        ("link.png", "no preview"),
    ],
)
async def test_placeholder(client: Any, key: str, word: str) -> None:
    """Where there is no picture, a drawing says so; it is not kept, for the picture may come."""
    answer = await client.get(f"/-/thumbnail/{key}")
    found = (answer.status_code, answer.headers["content-type"], answer.headers["cache-control"])
    assert found == (200, "image/svg+xml", "no-store")
    assert f">{word}</text>" in answer.text


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("public", f"http://127.0.0.1:9/comfy-gen/outputs/{quote(ODD_KEY)}"), ("private", "X-Amz-Signature=")],
)
async def test_output_of_a_bucket(tmp_path: Path, policy: str, expected: str) -> None:
    """From a bucket, browsers fetch outputs themselves: at the plain address, or at one that is signed for an hour."""
    site = Site(tmp_path, BUCKET.format(policy=policy))
    site.add({ODD_KEY: (None, sidecar(1))})
    async with site.datasette() as opened:
        answer = await opened.client.get(f"/-/output/{quote(ODD_KEY)}")
        secret = (await opened.client.get("/-/metadata.json")).text
    assert answer.status_code == 302
    assert expected in answer.headers["location"]
    assert "do-not-tell" not in secret + answer.headers["location"]


async def test_thumbnail_of_a_bucket_that_is_away(tmp_path: Path) -> None:
    """A bucket that does not answer costs a placeholder, not the page."""
    site = Site(tmp_path, BUCKET.format(policy="private"))
    site.add({"a.png": (None, sidecar(1))})
    async with site.datasette() as opened:
        answer = await opened.client.get("/-/thumbnail/a.png")
    assert answer.headers["content-type"] == "image/svg+xml"
