"""Policies: a bucket's policy document, checked and normalised as MinIO does, and what it allows to whom."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.minio_double.answers import Refusal

_ARN = "arn:aws:s3:::"
_ORDER = ("Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition")
_OBJECT_ACTIONS = re.compile(r"s3:(Get|Put|Delete)Object.*|s3:AbortMultipartUpload|s3:ListMultipartUploadParts")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A bucket's policy. `text` is what the server answers when asked for it."""

    text: bytes
    statements: tuple[Mapping[str, Any], ...]

    def allows(self, action: str, resource: str) -> bool:
        """Whether anyone at all may do this. A Deny wins over every Allow."""
        effects = {statement["Effect"] for statement in self.statements if _covers(statement, action, resource)}
        return "Allow" in effects and "Deny" not in effects


def parse_policy(body: bytes, bucket: str) -> Policy:
    """Read a policy document; raises Refusal(MalformedPolicy)."""
    try:
        raw = json.loads(body)
    except ValueError:
        why = f"invalid character '{body[1:2].decode('latin-1')}' looking for beginning of object key string"
        raise Refusal("MalformedPolicy", why) from None
    if not isinstance(raw, dict) or raw.get("Version") not in {"", None, "2012-10-17"}:
        raise Refusal("MalformedPolicy", f"invalid version '{raw.get('Version') if isinstance(raw, dict) else raw}'")
    statements = tuple(_statement(statement, bucket) for statement in raw.get("Statement") or [])
    tidy = {key: value for key, value in {**raw, "Statement": statements}.items() if key in {"ID", "Version"}}
    text = json.dumps({**tidy, "Statement": statements}, separators=(",", ":"), ensure_ascii=False).encode()
    return Policy(text=text, statements=statements)


def _statement(raw: Mapping[str, Any], bucket: str) -> dict[str, Any]:
    principal = raw.get("Principal")
    if raw.get("Effect") not in {"Allow", "Deny"}:
        raise Refusal("MalformedPolicy", f"invalid Effect '{raw.get('Effect')}'")
    if not (principal == "*" or (isinstance(principal, dict) and principal.get("AWS"))):
        raise Refusal("MalformedPolicy", "invalid Principal")
    if not (raw.get("Action") or raw.get("NotAction")):
        raise Refusal("MalformedPolicy", "Action must not be empty")
    lists = {
        name: sorted(_listed(raw[name]))
        for name in ("Action", "NotAction", "Resource", "NotResource")
        if raw.get(name) is not None
    }
    found = {**raw, **lists, "Principal": {"AWS": ["*"] if principal == "*" else _listed(principal["AWS"])}}
    _check_resources(found, bucket)
    return {name: found[name] for name in _ORDER if name in found}


def _check_resources(statement: Mapping[str, Any], bucket: str) -> None:
    resources = statement.get("Resource") or statement.get("NotResource")
    if not resources:
        raise Refusal("MalformedPolicy", "Resource must not be empty")
    for resource in resources:
        if not _pattern(resource.removeprefix(_ARN).partition("/")[0]).fullmatch(bucket):
            raise Refusal("MalformedPolicy", f"bucket name does not match in resource '{resource}'")
    for action in statement.get("Action", ()) if "Resource" in statement else ():
        wants_objects = bool(_OBJECT_ACTIONS.fullmatch(action))
        if "*" not in action and not any(_is_object(name) is wants_objects for name in resources):
            raise Refusal("MalformedPolicy", f"unsupported Resource found {{{resources}}} for action {action}")


def _is_object(resource: str) -> bool:
    return "/" in resource.removeprefix(_ARN)


def _covers(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    if "*" not in statement["Principal"]["AWS"]:
        return False
    if "Action" in statement and not matches_any(statement["Action"], action):
        return False
    if "NotAction" in statement and matches_any(statement["NotAction"], action):
        return False
    if "Resource" in statement:
        return matches_any(statement["Resource"], _ARN + resource)
    return not matches_any(statement["NotResource"], _ARN + resource)


def matches_any(patterns: list[str] | tuple[str, ...], text: str) -> bool:
    """Whether one of several patterns with `*` and `?` matches the whole of a text."""
    return any(_pattern(pattern).fullmatch(text) for pattern in patterns)


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value]
