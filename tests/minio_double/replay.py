"""Replay: the requests of a recording, sent again in their order, and the answers in the form of the recording.

What the recording does not hold (writes between its cases, how a request was signed wrongly) is told by name below.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote

from tests.minio_double.recording import Case
from tests.minio_double.wire import Listener, Reply, Signing, Wire, exchange, listen_target

SIGNINGS: Mapping[str, dict[str, Any]] = {
    "listen refused: wrong secret": {"secret": "wrongwrong"},
    "listen refused: unknown access key": {"access": "nobodyhere"},
    "listen refused: clock 20 minutes behind": {"skew": -1200},
    "put with a wrong secret": {"secret": "wrongwrong"},
    "put, clock 20 minutes behind": {"skew": -1200},
    "put, clock 20 minutes ahead": {"skew": 1200},
    "put signed for another region": {"region": "eu-central-1"},
}
QUIET = (
    "listen, ping=1, quiet bucket",
    "listen without ping, quiet bucket",
    "listen, ping=1, Accept-Encoding: gzip",
)
LIVE = {
    "put": "listen while all of the operations above ran",
    "versioned put": "listen on the versioned bucket while that ran",
}
FILTERED = ("img/1.json", "img/1.png", "imx/1.json", "a b+c.png", "other.json")
END = "~end"
LISTED = tuple(f"list/{n} +ü.txt" for n in range(5))
_LEARNT = re.compile(r"<(UploadId|NextContinuationToken)>(.*?)<")


async def patience(listeners: int) -> None:
    """Real servers do not say how many listeners they have: give them the time to notice."""
    await asyncio.sleep(0.5)


@dataclass(kw_only=True)
class Replay:
    """One run against one server, in fresh buckets. `settled` waits until the server has so many listeners."""

    endpoint: str
    bucket: str
    settled: Callable[[int], Awaitable[None]] = patience
    signing: Signing = field(default_factory=Signing)
    learnt: dict[str, str] = field(default_factory=dict)
    live: Listener | None = None
    quiet: dict[str, Case] = field(default_factory=dict)

    async def run(self, cases: Iterable[Case]) -> dict[str, Case]:
        """Replay cases, one after the other."""
        recorded = {case["case"]: case for case in cases}
        answers = {}
        for name, case in recorded.items():
            await self._prepare(name, recorded)
            answers[name] = {"case": name, **await self._play(name, case)}
        return answers

    async def call(self, method: str, path: str, body: bytes = b"", **extra: str) -> Reply:
        """A request of our own; the path follows the bucket's name."""
        headers = {name.replace("_", "-"): value for name, value in extra.items()}
        wire = Wire(endpoint=self.endpoint, signing=self.signing)
        return await wire.call(method, f"/{self.bucket}{path}", body, headers=headers)

    async def _prepare(self, name: str, recorded: Mapping[str, Case]) -> None:
        """What the recording's author did before a case."""
        if name == QUIET[0]:
            await self._listen_quietly([recorded[quiet] for quiet in QUIET])
        if name == "list, two a page":
            for key in LISTED:
                await self.call("PUT", f"/{key}", b"x")
        if name == "enable versioning":
            await self.call("PUT", "-v")
        if LIVE.get(name) in recorded:
            self.live = await self.listener(recorded[LIVE[name]]).__aenter__()
            await self.settled(1)

    def listener(self, case: Case) -> Listener:
        request = case["request"]
        target = self._ours(request["target"])
        return Listener(endpoint=self.endpoint, target=target, extra=request["headers"], signing=self.signing)

    async def _listen_quietly(self, cases: list[Case]) -> None:
        """All streams on which nothing happens, at once, up to their first word."""
        listeners = [self.listener(case) for case in cases]
        async with listeners[0], listeners[1], listeners[2]:
            await asyncio.gather(*(listener.until(chunks=1) for listener in listeners))
        self.quiet = {case["case"]: _stream(case, heard) for case, heard in zip(cases, listeners, strict=True)}
        await self.settled(0)

    def _ours(self, text: str) -> str:
        """Recorded text with our bucket, upload ids and tokens in place of the recorded ones."""
        text = re.sub(r"(?<=/)bucket(?=[/?-]|$)|(?<=:::)bucket(?=/|\")", self.bucket, text)
        for recorded, ours in self.learnt.items():
            text = text.replace(recorded, ours).replace(quote(recorded, safe=""), quote(ours, safe=""))
        return text

    async def _play(self, name: str, case: Case) -> Case:
        if "request" not in case:
            return await COUNTED[name](self)
        if name in self.quiet:
            return self.quiet[name]
        if self.live and name in LIVE.values():
            listener, self.live = self.live, None
            return await self._heard(case, listener)
        if "chunks" in case["response"]:
            return await self._filtered(name, case)
        return await self._request(name, case)

    async def _request(self, name: str, case: Case) -> Case:
        request = case["request"]
        signing = replace(self.signing, anonymous=not request["signed"], **SIGNINGS.get(name, {}))
        headers = {key: self._ours(value) for key, value in request["headers"].items()}
        body, target = _body(self._ours(request["body"])), self._ours(request["target"])
        before = len(self.live.events()) if self.live else 0
        reply = await exchange(self.endpoint, request["method"], target, headers=headers, body=body, signing=signing)
        answer: Case = {"request": request, "response": self._form(reply)}
        self._learn(case["response"], answer["response"])
        if "events" in case and self.live:
            await self.live.until(events=before + len(case["events"]))
            answer["events"] = self.live.events()[before:]
        return answer

    def _learn(self, recorded: Case, ours: Case) -> None:
        """Pair what the recorded server made up with what ours did."""
        pairs = zip(_LEARNT.findall(recorded["body"]), _LEARNT.findall(ours["body"]), strict=False)
        self.learnt |= {old[1]: new[1] for old, new in pairs}
        versions = [dict(response["headers"]).get("x-amz-version-id") for response in (recorded, ours)]
        if all(versions):
            self.learnt[str(versions[0])] = str(versions[1])

    def _form(self, reply: Reply) -> Case:
        body = _text(reply.body).replace(self.bucket, "bucket")
        return {"status": reply.status, "headers": [list(pair) for pair in reply.headers], "body": body}

    async def _heard(self, case: Case, listener: Listener) -> Case:
        """All that a stream has said, proved by a last write: what it heard of that one is taken away again."""
        path = listener.target.partition("?")[0].removeprefix("/") or self.bucket
        query = dict(parse_qsl(listener.target.partition("?")[2], keep_blank_values=True))
        key = f"{query.get('prefix', '').replace('*', '')}{END}{query.get('suffix', '')}"
        place = f"{path.removeprefix(self.bucket)}/{key}"
        await self.call("PUT", place, b"x")
        while key not in listener.heard():
            await listener.until(chunks=len(listener.chunks) + 1)
        await listener.__aexit__()
        await self.call("DELETE", place)
        lines = [[line for line in chunk.splitlines(True) if END.encode() not in line] for chunk in listener.chunks]
        listener.chunks = [b"".join(kept) for kept in lines if kept]
        await self.settled(0)
        return _stream(case, listener)

    async def _filtered(self, name: str, case: Case) -> Case:
        """A stream with a filter, or of all buckets, while these keys are written."""
        listener = await self.listener(case).__aenter__()
        await self.settled(1)
        for key in FILTERED if "filter" in name else ("root.png",):
            await self.call("PUT", f"/{key}", b"x")
        pings = any('"Records":null' in chunk["bytes"] for chunk in case["response"]["chunks"])
        await listener.until(pings=int(pings))
        return await self._heard(case, listener)


def _stream(case: Case, listener: Listener) -> Case:
    chunks = [{"bytes": _text(chunk)} for chunk in listener.chunks]
    head = listener.head
    headers = [list(pair) for pair in head.headers] if head else None
    response = {"status": head.status if head else None, "headers": headers, "chunks": chunks}
    return {"request": case["request"], "response": response}


def _body(text: str) -> bytes:
    if text.startswith("89504e47"):  # recorded in hex where it is no text
        return bytes.fromhex(text)
    found = re.fullmatch(r"<(\d+) bytes>", text)
    return b"p" * int(found[1]) if found else text.encode()


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.hex()


async def race(replay: Replay) -> Case:
    """Twelve writers want the same key, twenty times."""

    async def write(key: str) -> bool:
        return (await replay.call("PUT", f"/claims/one-race-{key}", b"x", If_None_Match="*")).code == 200

    winners = [sum(await asyncio.gather(*(write(str(key)) for _ in range(12)))) for key in range(20)]
    return {"winners_per_key": winners}


async def burst(replay: Replay) -> Case:
    """Eight writers, three listeners, four hundred objects."""
    target = listen_target(replay.bucket, ping=5, prefix="burst/")
    listeners = [Listener(endpoint=replay.endpoint, target=target, signing=replay.signing) for _ in range(3)]

    async def write(writer: int) -> None:
        for number in range(50):
            await replay.call("PUT", f"/burst/{writer}-{number:02d}", b"x")

    async with listeners[0], listeners[1], listeners[2]:
        await replay.settled(3)
        await asyncio.gather(*(write(writer) for writer in range(8)))
        await asyncio.gather(*(listener.until(events=400) for listener in listeners))
        heard = [listener.heard() for listener in listeners]
    await replay.settled(0)
    return {"events_per_listener": [len(keys) for keys in heard], "distinct_keys": [len(set(keys)) for keys in heard]}


async def deaf(replay: Replay) -> Case:
    """Three listeners with different masks, of which the first leaves: the second hears nothing more, and is pinged."""
    async with AsyncExitStack() as stack:
        listeners = []
        for event in ("s3:ObjectAccessed:Head", "s3:ObjectCreated:*", "s3:ObjectRemoved:*"):
            target = listen_target(replay.bucket, ping=1, events=[event])
            listener = Listener(endpoint=replay.endpoint, target=target, signing=replay.signing)
            listeners.append(await stack.enter_async_context(listener))
            await replay.settled(len(listeners))
        first, second, _ = listeners
        await replay.call("PUT", "/deaf/before.png", b"x")
        await second.until(events=1)
        await first.__aexit__()
        await replay.settled(2)
        await replay.call("PUT", "/deaf/after.png", b"x")
        await second.until(pings=second.pings() + 1)
        heard = len(second.events()) - 1
        fresh = Listener(endpoint=replay.endpoint, target=second.target, signing=replay.signing)
        await stack.enter_async_context(fresh)
        await replay.settled(3)
        await replay.call("PUT", "/deaf/again.png", b"x")
        await second.until(events=2 + heard)
    await replay.settled(0)
    return {
        "created_listener_heard_before": 1,
        "heard_after_it_left": heard,
        "pings_seen_by_it": second.pings(),
        "heard_after_a_fresh_Created_listener_joined": len(second.events()) - 1 - heard,
    }


COUNTED: Mapping[str, Callable[[Replay], Awaitable[Case]]] = {
    "20 keys x 12 concurrent put If-None-Match:*": race,
    "400 puts by 8 threads, 3 listeners": burst,
    "three listeners with masks Head / Created / Removed; the Head listener leaves": deaf,
}
