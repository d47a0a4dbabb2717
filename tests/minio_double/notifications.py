"""Notifications: a bucket's notification configuration, and webhook targets to which events are really delivered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from xml.etree import ElementTree

import aiohttp

from tests.minio_double.answers import Refusal, document, parse_xml, tag
from tests.minio_double.pubsub import wildcard
from tests.minio_double.records import Dialect, Happening, Source, expand, go_json, record

_BAD_ARN = "A specified destination ARN does not exist or is not well-formed. Verify the destination ARN."


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One QueueConfiguration: these events of these keys go to this target."""

    name: str
    arn: str
    events: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""

    def means(self, happening: Happening) -> bool:
        known = any(happening.name in expand(event) for event in self.events)
        return known and wildcard(self.prefix, self.suffix)(happening.key)

    def xml(self) -> str:
        filters = [("prefix", self.prefix), ("suffix", self.suffix)]
        rules = [tag("FilterRule", tag("Name", name), tag("Value", value)) for name, value in filters if value]
        chosen = tag("Filter", tag("S3Key", *rules)) if rules else tag("Filter", tag("S3Key"))
        events = [tag("Event", event) for event in self.events]
        return tag("QueueConfiguration", tag("Id", self.name), chosen, *events, tag("Queue", self.arn))


def parse_rules(body: bytes, arns: Iterable[str]) -> tuple[Rule, ...]:
    """Read a notification configuration; raises Refusal for targets and events that do not exist."""
    known, root = set(arns), parse_xml(body)
    for element in root:
        if element.tag in {"TopicConfiguration", "CloudFunctionConfiguration"}:
            raise Refusal("InvalidArgument", _BAD_ARN)
    return tuple(_rule(element, known) for element in root.iter("QueueConfiguration"))


def _rule(element: ElementTree.Element, known: set[str]) -> Rule:
    arn = element.findtext("Queue", "")
    if arn not in known:
        raise Refusal("InvalidArgument", _BAD_ARN)
    events = tuple(event.text or "" for event in element.iter("Event"))
    for event in events:
        expand(event)
    filters = {rule.findtext("Name", ""): rule.findtext("Value", "") for rule in element.iter("FilterRule")}
    chosen = {name: filters.get(name, "") for name in ("prefix", "suffix")}
    name = element.findtext("Id", "") or element.findtext("ID", "")
    return Rule(name=name, arn=arn, events=events, **chosen)


def rules_xml(rules: Iterable[Rule]) -> bytes:
    return document("NotificationConfiguration", *(rule.xml() for rule in rules)).encode()


def message(happening: Happening, source: Source, dialect: Dialect) -> bytes:
    """What a target receives: the raw key outside, form-encoded keys in the records."""
    name = happening.name.removeprefix("s3:" if dialect is Dialect.AWS else "")
    key = f"{happening.bucket}/{happening.key}"
    records = [record(happening, source, dialect=dialect, escaped=True)]
    return go_json({"EventName": name, "Key": key, "Records": records})


@dataclass(kw_only=True, eq=False)
class Webhook:
    """A webhook target. `retry` is the clock of its queue directory; without one, an undelivered event is lost."""

    name: str
    endpoint: str
    token: str = ""
    retry: float | None = None
    backlog: deque[bytes] = field(default_factory=deque)
    delivered: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def arn(self) -> str:
        return f"arn:minio:sqs::{self.name}:webhook"

    def send(self, body: bytes) -> None:
        self.backlog.append(body)
        self._wake.set()

    async def run(self) -> None:
        """Deliver for ever. With a queue, one refused event holds up all that follow, as MinIO's do."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await asyncio.sleep(self.retry or 0)
                while self.backlog:
                    if await self._deliver(session, self.backlog[0]):
                        self.delivered += 1
                    elif self.retry is not None:
                        self._wake.set()
                        break
                    self.backlog.popleft()

    async def _deliver(self, session: aiohttp.ClientSession, body: bytes) -> bool:
        headers = {"Content-Type": "application/json", "User-Agent": "Go-http-client/1.1"}
        if self.token:
            headers["Authorization"] = self.token if " " in self.token else f"Bearer {self.token}"
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.post(self.endpoint, data=body, headers=headers) as response:
                return response.status // 100 == 2
        return False
