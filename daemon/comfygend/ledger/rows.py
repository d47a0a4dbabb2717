"""The values that go into the ledger and come out of it."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from comfygen.plan import Plan
from comfygen.request import Request
from comfygend.ledger.states import JobState, RequestState

PROMPTS = uuid.UUID("6b6a4c1e-6d5e-5b0f-9a53-3f4f5e0c9a11")


def request_id(now: datetime, entropy: bytes) -> str:
    """A new request id: 26 characters of Crockford's base32 that sort by time (48 bits of ms, 80 bits of entropy)."""
    number = int(now.timestamp() * 1000) << 80 | int.from_bytes(entropy[:10], "big")
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    return "".join(alphabet[number >> shift & 31] for shift in range(125, -1, -5))


def job_id(request: str, position: int) -> str:
    """The id of a job, 12 characters of base32: the same for the same place of the same request, always."""
    digest = hashlib.sha256(f"{request}/{position}".encode()).digest()
    return base64.b32encode(digest)[:12].decode().lower()


def prompt_id(job: str, attempt: int) -> str:
    """The prompt id of an attempt: a canonical lowercase UUID, as ComfyUI wants it."""
    return str(uuid.uuid5(PROMPTS, f"{job}/{attempt}"))


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A complete request file as it was found. `identity` tells whether it is the same file.

    Where several services see the same requests, `id` and `stamp` follow from the object, so that all of them give its
    jobs the same ids, seeds and keys; `inherited` says that another service may have begun it.
    """

    inbox: str
    name: str
    body: bytes
    identity: str
    id: str | None = None
    stamp: datetime | None = None
    inherited: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True, kw_only=True)
class RequestRow:
    """A request file in the ledger."""

    id: str
    inbox: str
    name: str
    identity: str
    sha256: str
    state: RequestState
    claimed: bool
    filed: bool
    inherited: bool
    stamp: datetime
    received_at: str
    ended_at: str | None
    error: Mapping[str, Any] | None
    notes: tuple[str, ...]
    tries: int = 1


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job about to enter the ledger."""

    request: Request
    plan: Plan
    batch_index: int
    batch_of: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job in the ledger: one ComfyUI prompt of a request."""

    id: str
    request_id: str
    position: int
    batch_index: int
    batch_of: int
    state: JobState
    request: Request
    plan: Plan
    stamp: datetime
    attempt: int
    failures: int
    crashes: int
    prompt_id: str | None
    backend: str | None
    inherited: bool = False
    timings: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file that came back, decoded and checked, in the spool. `n` is None for the only output of a job."""

    n: int
    node: str
    path: str
    key: str
    media_type: str
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    frames: int | None
    fps: float | None


def request_row(row: Mapping[str, Any]) -> RequestRow:
    """A row of `requests` as a value."""
    return RequestRow(
        id=row["id"],
        inbox=row["inbox"],
        name=row["name"],
        identity=row["identity"],
        sha256=row["sha256"],
        state=RequestState(row["state"]),
        claimed=bool(row["claimed"]),
        filed=bool(row["filed"]),
        tries=row["tries"],
        inherited=bool(row["inherited"]),
        stamp=datetime.fromisoformat(row["stamp"]),
        received_at=row["received_at"],
        ended_at=row["ended_at"],
        error=json.loads(row["error"]) if row["error"] else None,
        notes=tuple(json.loads(row["notes"])),
    )


def job_row(row: Mapping[str, Any]) -> Job:
    """A row of `jobs` as a value."""
    return Job(
        id=row["id"],
        request_id=row["request_id"],
        position=row["position"],
        batch_index=row["batch_index"],
        batch_of=row["batch_of"],
        state=JobState(row["state"]),
        request=Request.from_json(json.loads(row["request"])),
        plan=Plan.from_json(json.loads(row["plan"])),
        stamp=datetime.fromisoformat(row["stamp"]),
        attempt=row["attempt"],
        failures=row["failures"],
        crashes=row["crashes"],
        prompt_id=row["prompt_id"],
        backend=row["backend"],
        inherited=bool(row["inherited"]),
        timings=json.loads(row["timings"]),
        error=json.loads(row["error"]) if row["error"] else None,
    )


def dump(value: object) -> str:
    """JSON text for a column."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def dump_error(error: Mapping[str, Any]) -> str:
    """An error as JSON text. Servers tell of limits such as Infinity, which is no JSON: it becomes a text."""
    return dump(json.loads(json.dumps(error), parse_constant=str))
