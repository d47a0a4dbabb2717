"""State: all that a server keeps, and that a restart does not lose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tests.minio_double.calls import Call
from tests.minio_double.clock import Clock
from tests.minio_double.faults import Faults
from tests.minio_double.notifications import Rule
from tests.minio_double.policy import Policy, matches_any
from tests.minio_double.storage import Storage


@dataclass(frozen=True, kw_only=True)
class User:
    """Someone with a key. `actions` are what the user may do; only root passes everything."""

    secret: str = field(repr=False)
    actions: tuple[str, ...] = ()
    root: bool = False

    def may(self, action: str) -> bool:
        return self.root or matches_any(self.actions, action)


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One line of the request log."""

    time: datetime
    method: str
    operation: str
    bucket: str
    key: str
    status: int
    code: str | None
    user: str | None
    query: Mapping[str, str]


@dataclass(kw_only=True)
class State:
    """Objects, policies, notification rules, users, and the log of what was asked."""

    clock: Clock
    storage: Storage
    faults: Faults
    users: dict[str, User]
    policies: dict[str, Policy] = field(default_factory=dict)
    rules: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    arns: set[str] = field(default_factory=set)
    requests: list[Logged] = field(default_factory=list)
    origin: str = ""
    serial: int = 0

    def request_id(self) -> str:
        self.serial += 1
        return f"{self.clock.nanoseconds() + self.serial:X}"

    def allows(self, call: Call, action: str, bucket: str, key: str = "") -> bool:
        """Whether this caller may do this: root all of it, users by their actions, anyone by the bucket's policy."""
        user = self.users.get(call.user or "")
        if user and user.may(action):
            return True
        policy = self.policies.get(bucket)
        return policy is not None and policy.allows(action, f"{bucket}/{key}" if key else bucket)
