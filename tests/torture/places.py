"""Places: a folder or a bucket of a double elsewhere, looked at from outside; how to drop in any weather."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.acceptance.harness import Folders

BUCKET, ACCESS, SECRET = "comfy-gen", "comfygen", "comfygen-secret"
REPORTS = (".result.json", ".error.json")
PAUSE = 0.1


@dataclass
class Yard(Folders):
    """A folder for requests and one for outputs."""

    async def deliver(self, name: str, content: bytes) -> None:
        """Drop a file."""
        self.drop(name, content)

    def ended(self) -> int:
        """How many reports there are."""
        return sum(_reports(self.folder / "requests" / place) for place in ("done", "failed"))


@dataclass
class Remote:
    """Requests and outputs in one bucket of a double in another process. Looking never fails, it waits."""

    endpoint: str
    folder: str = ""
    s3: Any = field(init=False)

    def __post_init__(self) -> None:
        self.s3 = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=10),
        )

    @property
    def config(self) -> str:
        return (
            f"inbox:\n{self.folder}  - prefix: requests/\nstore:\n  endpoint: {self.endpoint}\n  bucket: {BUCKET}\n"
            f"  access_key: {ACCESS}\n  secret_key: {SECRET}\n"
        )

    async def deliver(self, name: str, content: bytes) -> None:
        """Drop an object once: an answer that was lost is asked for, before the object is put again."""
        while not await asyncio.to_thread(self._is_delivered, name, content):
            await asyncio.sleep(PAUSE)

    def _is_delivered(self, name: str, content: bytes) -> bool:
        try:
            self.drop(name, content)
        except (BotoCoreError, ClientError):
            return self._has_arrived(name)
        return True

    def _has_arrived(self, name: str) -> bool:
        """Whether it lies in the inbox or, by now, where requests are put away."""
        for key in (f"requests/{name}", f"requests/done/{name}", f"requests/failed/{name}"):
            while (answer := self._head(key)) is None:
                pass
            if answer:
                return True
        return False

    def _head(self, key: str) -> bool | None:
        try:
            self.s3.head_object(Bucket=BUCKET, Key=key)
        except ClientError as exc:
            return False if exc.response["ResponseMetadata"]["HTTPStatusCode"] == 404 else None
        except BotoCoreError:
            return None
        return True

    def drop(self, name: str, content: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=f"requests/{name}", Body=content)

    def ended(self) -> int:
        """How many reports there are; what is seen of it while the store is ill."""
        with contextlib.suppress(BotoCoreError, ClientError):
            return sum(key.endswith(REPORTS) for key in self._keys("requests/"))
        return 0

    def requests(self) -> dict[str, bytes]:
        return {key.removeprefix("requests/"): self._body(key) for key in self._keys("requests/")}

    def objects(self) -> dict[str, bytes]:
        return {key: self._body(key) for key in self._keys() if not key.startswith(("requests/", ".comfygen/"))}

    def claims(self) -> list[str]:
        """Claims that lie in the bucket."""
        return list(self._keys(".comfygen/claims/"))

    def _keys(self, prefix: str = "") -> Iterator[str]:
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            yield from (entry["Key"] for entry in page.get("Contents", ()))

    def _body(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body


@dataclass
class Both(Remote):
    """A folder and a prefix as inboxes, a bucket as the store. Requests go to the two by turns."""

    yard: Yard = field(default_factory=lambda: Yard(Path()))
    turn: int = 0

    async def deliver(self, name: str, content: bytes) -> None:
        self.turn += 1
        await (self.yard.deliver(name, content) if self.turn % 2 else super().deliver(name, content))

    def ended(self) -> int:
        return super().ended() + self.yard.ended()

    def requests(self) -> dict[str, bytes]:
        return super().requests() | self.yard.requests()


def _reports(folder: Path) -> int:
    try:
        return sum(name.endswith(REPORTS) for name in os.listdir(folder))  # noqa: PTH208
    except FileNotFoundError:
        return 0
