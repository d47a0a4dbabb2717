"""ListenState: where the notifications of a bucket stand, for `/status` and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from comfygen.errors import StoreError, StoreUnavailable
from comfygen.minio_client.settings import Source


class Listening(StrEnum):
    """How changes are learnt at the moment. Whatever is not LISTENING is polled until it is."""

    CONNECTING = "connecting"
    LISTENING = "listening"
    POLLING = "polling"  # because the configuration says so
    MUFFLED = "muffled"  # connected, but the server flushes nothing
    DEAF = "deaf"  # connected, but the canary is not heard
    FORBIDDEN = "forbidden"  # the credentials may not listen
    UNSUPPORTED = "unsupported"  # this server has no notifications of this kind
    MISSING = "missing"  # there is no bucket


REMEDIES: Mapping[Listening, str] = {
    Listening.MUFFLED: (
        "This server build does not flush notifications (builds of the source after 2025-10-24): use a webhook "
        "target, RELEASE.2025-10-15 or another build. The bucket is polled meanwhile."
    ),
    Listening.DEAF: (
        "The server sends no event for what is written (a known fault after another listener leaves). "
        "It is connected again, and the bucket polled meanwhile."
    ),
    Listening.FORBIDDEN: "Allow the access key s3:ListenBucketNotification. The bucket is polled meanwhile.",
    Listening.UNSUPPORTED: (
        "This server has no ListenBucketNotification: set store.notifications to webhook or poll. "
        "The bucket is polled meanwhile."
    ),
    Listening.MISSING: "There is no such bucket: make it with `comfygen bucket setup`, or mend store.bucket.",
}
WEBHOOK_DEAF = (
    "What is written arrives at no webhook: set a bucket notification (put,delete) to the webhook target that posts "
    "to /hooks/bucket. The bucket is polled meanwhile."
)


@dataclass(frozen=True, kw_only=True)
class ListenState:
    """The state of one subscription. `reconcile_found` > 0 means that events were missed: the honest figure."""

    source: Source
    state: Listening
    remedy: str | None = None
    connected_since: datetime | None = None
    last_event: datetime | None = None
    last_ping: datetime | None = None
    reconnects: int = 0
    canary_lag: float | None = None
    reconcile_found: int = 0
    unreadable: int = 0
    overflows: int = 0

    def to_json(self) -> dict[str, object]:
        """As `/status` tells it: times as ISO text."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }


class StreamLost(StoreUnavailable):
    """The notification stream ended."""

    code = "stream_lost"


class Deaf(StreamLost):
    """The canary was not heard."""

    code = "deaf"


class ListenRefused(StoreError):
    """The server will not send notifications, and asking again soon will not help."""

    code = "listen_refused"

    def __init__(self, state: Listening, message: str, *, hint: str | None = None) -> None:
        self.state = state
        super().__init__(message, hint=hint or REMEDIES.get(state))
