"""How a bucket is reached and listened to, as frozen values."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Self, TypeAlias
from urllib.parse import quote

from comfygen.bucket_policy import Access
from comfygen.config import StoreConfig
from comfygen.errors import ConfigInvalid
from comfygen.events import Dialect

Source: TypeAlias = Literal["listen", "webhook", "poll"]
MIB = 1 << 20


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Time and chance as parameters, so that tests need wait for neither."""

    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random

    def backoff(self, attempt: int, *, base: float, cap: float) -> float:
        """Full jitter: anything between nothing and a bound that doubles with each attempt (0, 1, 2 …)."""
        return float(self.random() * min(cap, base * 2 ** min(attempt, 30)))


SYSTEM = Timing()


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """How notifications are received. All numbers but `queue` are seconds."""

    source: Source = "listen"
    dialect: Dialect | None = None
    ping: int = 2
    first_byte: float = 5  # beyond `ping`, before a silent server counts as muffled
    canary_every: float = 60
    canary_bound: float = 10  # a webhook target with a queue_dir takes 3 s for every event
    poll_every: float = 3
    reconcile_every: float = 600
    tail: float = 900  # how far back a tail listing looks
    backoff_base: float = 0.5
    backoff_cap: float = 30
    retry_refused: float = 180
    queue: int = 10_000
    identity: str = ""  # names the heartbeat object; the machine's name if empty


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """Where the bucket is and how it is spoken to. Without `access_key`, the usual AWS places are searched."""

    endpoint: str
    bucket: str
    prefix: str = ""
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    public_url: str | None = None
    policy: Access = "private"
    presign_seconds: int = 7 * 24 * 3600
    ca_file: str | None = None
    checksums: Literal["when_required", "when_supported"] = "when_required"
    attempts: int = 3
    connect_timeout: float = 5
    read_timeout: float = 60
    connections: int = 32
    part_bytes: int = 16 * MIB
    page: int = 1000
    listening: ListenSettings = ListenSettings()

    def __post_init__(self) -> None:
        if self.prefix and (not self.prefix.endswith("/") or self.prefix.startswith("/")):
            raise ConfigInvalid(f"The prefix {self.prefix!r} must end with a slash and begin with none.")
        if (self.access_key is None) != (self.secret_key is None):
            raise ConfigInvalid("store.access_key and store.secret_key belong together.")

    @classmethod
    def of(cls, config: StoreConfig) -> Self:
        """The settings that a configuration of a bucket asks for."""
        if config.endpoint is None or config.bucket is None:
            raise ConfigInvalid("The configured store is no bucket.", hint="Set store.endpoint and store.bucket.")
        return cls(
            endpoint=config.endpoint,
            bucket=config.bucket,
            prefix=config.prefix,
            access_key=config.access_key,
            secret_key=config.secret_key.get_secret_value() if config.secret_key else None,
            region=config.region or "us-east-1",
            public_url=config.public_url,
            policy=config.policy,
            listening=ListenSettings(
                source=config.notifications,
                canary_every=config.canary_seconds,
                canary_bound=min(10.0, 2 * config.canary_seconds),
            ),
        )

    @property
    def base_url(self) -> str:
        """The address of the bucket for people."""
        return (self.public_url or f"{self.endpoint.rstrip('/')}/{self.bucket}").rstrip("/")

    def address(self, key: str) -> str:
        """Where a key (below the prefix) is, every segment percent-encoded."""
        return f"{self.base_url}/{quote(self.prefix + key, safe='/-_.~')}"
