"""The contract of Store: the same cases on every store there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comfygen.errors import KeyInvalid, NoSuchBucket, NoSuchKey, PreconditionFailed, StoreError
from comfygen.store import Change, Store
from tests.contract.stores import STANDS, Stand, hint_about, keys_of

KEYS = [
    "plain.png",
    "gallery/2026/deep.png",
    "a b.png",
    "a+b.png",
    "100%.png",
    "a%20b.png",
    "a#b.png",
    "a?b=c&d.png",
    "Straße.png",
    "東京/🌅.png",
    "it's (1) [2] {3}; @home, ~=!.png",
    "a" * 251 + ".png",
]
BAD_KEYS = ["", "/a.png", "a.png/", "a//b.png", "../a.png", "a/./b.png", "a\0.png", "a\\b.png", "a" * 256, "\ud83c.png"]


@pytest.fixture(params=sorted(STANDS))
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    """Each store in turn, empty, with a foreign program beside it."""
    async with STANDS[request.param](tmp_path) as stand:
        yield stand


@pytest.fixture
def store(stand: Stand) -> Store:
    """The store alone."""
    return stand.store


async def put(store: Store, key: str, body: bytes = b"x") -> str:
    """Store a picture; its etag."""
    return (await store.put(key, body, content_type="image/png")).etag


@pytest.mark.parametrize("key", KEYS)
async def test_every_key_makes_the_round(stand: Stand, key: str) -> None:
    """A key with anything in it is put, got, looked at, listed, opened by its URL and deleted as the same key."""
    body, store = key.encode(), stand.store
    put_ = await store.put(key, body, content_type="image/png")
    content, got = await store.get(key)
    head = await store.head(key)
    assert (content, put_.key, got.key, head.key) == (body, key, key, key)
    assert await keys_of(store) == [key]
    assert await stand.fetch(store.url(key)) == body
    await store.delete(key)
    assert await keys_of(store) == []


async def test_what_is_stored_is_told_alike_everywhere(store: Store) -> None:
    """Put, get and head agree on size, etag and content type; a listing on size and etag."""
    stored = await store.put("a.png", b"12345", content_type="image/png")
    _, got = await store.get("a.png")
    head = await store.head("a.png")
    (listed,) = [each async for each in store.list()]
    facts = [(each.size, each.etag) for each in (stored, got, head, listed)]
    assert (facts, head.content_type, got.content_type) == ([(5, stored.etag)] * 4, "image/png", "image/png")


async def test_time_is_told_with_its_zone(store: Store) -> None:
    """The time of the last change is an aware time."""
    await put(store, "a.png")
    modified = (await store.head("a.png")).modified
    assert modified is not None
    assert modified.utcoffset() is not None


async def test_empty_object(store: Store) -> None:
    """An object of 0 bytes is an object."""
    await put(store, "empty.png", b"")
    content, stored = await store.get("empty.png")
    assert (content, stored.size, await keys_of(store)) == (b"", 0, ["empty.png"])


async def test_large_body_from_a_file(store: Store, tmp_path: Path) -> None:
    """A large file is stored from where it lies, and stays there."""
    source, content = tmp_path / "source.mp4", bytes(range(256)) * 48 * 1024
    source.write_bytes(content)
    stored = await store.put("large.mp4", source, content_type="video/mp4")
    got, _ = await store.get("large.mp4")
    assert (stored.size, got == content, source.stat().st_size) == (len(content), True, len(content))


async def test_overwriting_changes_content_and_etag(store: Store) -> None:
    """A second put replaces the first, and the etag tells, even when the size is the same."""
    first = await put(store, "a.png", b"one")
    second = await put(store, "a.png", b"two")
    content, stored = await store.get("a.png")
    assert (content, stored.etag, first == second) == (b"two", second, False)


async def test_conditional_put_makes_new_objects_only(store: Store) -> None:
    """With `if_none_match`, an object that exists stays as it is."""
    await store.put("a.png", b"one", content_type="image/png", if_none_match=True)
    with pytest.raises(PreconditionFailed):
        await store.put("a.png", b"two", content_type="image/png", if_none_match=True)
    assert (await store.get("a.png"))[0] == b"one"


async def test_one_of_many_conditional_puts_wins(store: Store) -> None:
    """Of eight writers at once exactly one makes the object, and what is there is that writer's."""

    async def write(n: int) -> int | None:
        try:
            await store.put("claim.json", b"%d" % n, content_type="application/json", if_none_match=True)
        except PreconditionFailed:
            return None
        return n

    winners = [n for n in await asyncio.gather(*map(write, range(8))) if n is not None]
    assert [(await store.get("claim.json"))[0]] == [b"%d" % n for n in winners]


async def test_readers_see_whole_versions_only(store: Store) -> None:
    """While an object is overwritten again and again, each get gives one version, whole."""
    versions = [bytes([n]) * 200_000 for n in range(12)]
    await put(store, "a.png", versions[0])

    async def write() -> None:
        for version in versions:
            await put(store, "a.png", version)

    writing = asyncio.create_task(write())
    seen = [(await store.get("a.png"))[0]]
    while not writing.done():
        seen.append((await store.get("a.png"))[0])
    await writing
    assert [content for content in seen if content not in versions] == []


async def test_get_is_bounded(store: Store) -> None:
    """An object larger than the reader wants is refused, one of just that size is not."""
    await put(store, "a.png", b"12345")
    assert (await store.get("a.png", max_bytes=5))[0] == b"12345"
    with pytest.raises(StoreError, match="at most 4"):
        await store.get("a.png", max_bytes=4)


@pytest.mark.parametrize("key", ["none.png", "folder", "folder/none.png", "folder/a.png/below.png"])
async def test_what_is_not_there(store: Store, key: str) -> None:
    """Get and head say NoSuchKey, also for folders and what would lie below an object; delete says nothing."""
    await put(store, "folder/a.png")
    for look in (store.get, store.head):
        with pytest.raises(NoSuchKey):
            await look(key)
    await store.delete(key)
    assert await keys_of(store) == ["folder/a.png"]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_bad_keys_are_refused_by_every_verb(store: Store, key: str) -> None:
    """A key that some store would refuse is refused here, too, and the reason is KeyInvalid."""
    for verb in (store.get, store.head, store.delete, lambda bad: put(store, bad)):
        with pytest.raises(KeyInvalid):
            await verb(key)
    with pytest.raises(KeyInvalid):
        store.url(key)


ORDERED = ["a-b.png", "a.png", "a/b.png", "a/c/d.png", "a0.png", "b.png", "b/a.png", "ä.png", "東.png", "🌅.png"]


@pytest.mark.parametrize(
    ("prefix", "start_after", "expected"),
    [
        ("", "", ORDERED),
        ("a", "", ORDERED[:5]),
        ("a/", "", ORDERED[2:4]),
        ("a/c", "", ["a/c/d.png"]),
        ("a/c/d.png", "", ["a/c/d.png"]),
        ("none/", "", []),
        ("../", "", []),
        ("", "a/b.png", ORDERED[3:]),
        ("", "a/", ORDERED[2:]),
        ("", "a/bz", ORDERED[3:]),
        ("", "a/c/d.png", ORDERED[4:]),
        ("a", "a.png", ORDERED[2:5]),
        ("", "🌅.png", []),
    ],
)
async def test_listing_is_in_byte_order(stand: Stand, prefix: str, start_after: str, expected: list[str]) -> None:
    """Keys come in the byte order of their UTF-8, across folders, from where they are asked for."""
    for key in reversed(ORDERED):
        await stand.write(key, b"x")
    assert await keys_of(stand.store, prefix, start_after=start_after) == expected


async def test_listing_is_complete(stand: Stand) -> None:
    """More objects than a page holds are all listed, once each, in order."""
    keys = [f"run/{n:05}.png" for n in range(stand.page)]
    for key in keys:
        await stand.write(key, b"")
    assert await keys_of(stand.store) == keys


async def test_listing_may_be_left(store: Store) -> None:
    """A reader who stops in the middle leaves the store usable."""
    for n in range(3):
        await put(store, f"{n}.png")
    async for _ in store.list():
        break
    assert await keys_of(store) == ["0.png", "1.png", "2.png"]


async def test_foreign_writes_overwrites_and_deletions_are_heard(stand: Stand) -> None:
    """What another program does to an object is hinted at: making it, writing it anew, removing it."""
    made, rewritten, removed = "in/a b+ü.png", "in/rewritten.png", "in/removed.png"
    await stand.write(rewritten, b"one")
    await stand.write(removed, b"one")
    async with stand.store.listen() as hints:
        await stand.write(rewritten, b"two")
        await hint_about(hints, rewritten, Change.WRITTEN)
        await stand.remove(removed)
        await hint_about(hints, removed, Change.REMOVED)
        await stand.write(made, b"one")
        await hint_about(hints, made, Change.WRITTEN)


async def test_own_puts_are_heard(store: Store) -> None:
    """A put that ends after the context was entered is hinted at, whoever made it."""
    async with store.listen() as hints:
        await put(store, "a.png")
        await hint_about(hints, "a.png", Change.WRITTEN)


async def test_only_the_prefix_is_heard(store: Store) -> None:
    """A listener for a prefix hears nothing of other keys."""
    heard: list[str] = []
    async with store.listen("in/") as hints, asyncio.timeout(60):
        await put(store, "out.png")
        await put(store, "in/a.png")
        async for hint in hints:
            heard.append(hint.key)
            if hint.key == "in/a.png":
                break
    assert "out.png" not in heard


async def test_waiting_for_a_hint_can_be_given_up_and_taken_up_again(store: Store) -> None:
    """A wait that is cancelled loses no hint and does not end the stream."""
    async with store.listen() as hints:
        waiting = asyncio.ensure_future(anext(hints))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await put(store, "a.png")
        await hint_about(hints, "a.png", Change.WRITTEN)


async def test_a_listener_ends_when_cancelled(store: Store) -> None:
    """Cancelling the task that listens ends it, though nothing ever happened."""
    entered = asyncio.Event()

    async def listen() -> None:
        async with store.listen() as hints:
            entered.set()
            await anext(hints)

    task = asyncio.create_task(listen())
    async with asyncio.timeout(60):
        await entered.wait()
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()


async def test_a_vanished_bucket_is_an_alarm_and_no_empty_listing(stand: Stand) -> None:
    """When all of it is gone, no verb takes it for "there are no objects"."""
    await put(stand.store, "a.png")
    await stand.vanish()
    with pytest.raises(NoSuchBucket):
        await stand.store.head("a.png")
    with pytest.raises(NoSuchBucket):
        await keys_of(stand.store)
    with pytest.raises(NoSuchBucket):
        await put(stand.store, "b.png")
