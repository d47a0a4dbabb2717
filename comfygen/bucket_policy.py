"""Who may read a bucket without credentials: the policy document that we want, compared and explained in words.

Outputs begin with the time they were asked for, so a public policy allows reading keys that begin with a digit, and
nothing else: `requests/` and `.comfygen/` begin otherwise and are never public. (Allowing all and denying those would
shut out other users of the server as well, since a Deny for everyone beats every Allow; NotResource would make public
whatever anybody puts beside them.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from comfygen.errors import ConfigInvalid

Access: TypeAlias = Literal["public", "private", "presigned"]
Document: TypeAlias = Mapping[str, object]

PRIVATE_AREAS = ("requests/", ".comfygen/")
DIGITS = "0123456789"
ARN = "arn:aws:s3:::"
SPECIAL = ("*", "?", "${")
READ, LIST = "s3:getobject", "s3:listbucket"


@dataclass(frozen=True, kw_only=True, order=True)
class Grant:
    """One thing that everyone may do, on resources with one pattern."""

    action: str
    resource: str
    condition: str = ""

    def __str__(self) -> str:
        verb = {READ: "read", LIST: "list"}.get(self.action, f"do {self.action} on")
        return f"everyone may {verb} {self.resource.removeprefix(ARN)}" + (
            f" if {self.condition}" if self.condition else ""
        )


def wanted_policy(
    access: Access,
    *,
    bucket: str,
    prefix: str = "",
    listing: bool = False,
    private: Iterable[str] = PRIVATE_AREAS,
) -> Document | None:
    """The policy document of a bucket; None means that it should have none. Raises ConfigInvalid.

    `private` are areas below `prefix` that must stay private. With `listing`, everyone may also list the outputs,
    asking with a prefix that begins with a digit.
    """
    if access != "public":
        return None
    _check(prefix, private)
    statements: list[object] = [
        _statement("ComfyGenReadOutputs", "s3:GetObject", [f"{ARN}{bucket}/{prefix}{digit}*" for digit in DIGITS], None)
    ]
    if listing:
        below = {"StringLike": {"s3:prefix": [f"{prefix}{digit}*" for digit in DIGITS]}}
        statements.append(_statement("ComfyGenListOutputs", "s3:ListBucket", [f"{ARN}{bucket}"], below))
    return {"Version": "2012-10-17", "Statement": statements}


def merge_policies(existing: Document | None, wanted: Document | None) -> Document | None:
    """The document to store: what everyone may do is ours to say; denials and named users' statements stay."""
    kept: list[object] = [statement for statement in _statements(existing) if not _grants(statement)]
    statements = [*kept, *_statements(wanted)]
    return {"Version": "2012-10-17", "Statement": statements} if statements else None


def compare_policies(
    existing: Document | None, wanted: Document | None, *, prefix: str = "", private: Iterable[str] = PRIVATE_AREAS
) -> tuple[str, ...]:
    """Each difference in what everyone may do, in words. Empty when the bucket is as wanted."""
    have, want = _all_grants(existing), _all_grants(wanted)
    areas = [prefix + area for area in private]
    missing = [f"missing: {grant}" for grant in sorted(want - have)]
    extra = [f"not wanted: {grant}{_warning(grant, areas)}" for grant in sorted(have - want)]
    return tuple(missing + extra)


def explain_policy(access: Access, *, bucket: str, prefix: str = "", listing: bool = False) -> str:
    """What the setting means, for people."""
    if access == "private":
        return f"Private: nobody reads anything of {bucket} without credentials."
    if access == "presigned":
        return f"Presigned: nobody reads anything of {bucket} without credentials; links are signed and expire."
    listed = (
        f"They may list them too, asking for a prefix that begins with a digit (?list-type=2&prefix={prefix}2)."
        if listing
        else "Listing the bucket stays private (--listing allows it)."
    )
    return (
        f"Public: everyone reads the objects of {bucket} whose key begins with {prefix!r} and a digit, "
        f"which all outputs and sidecars do. {listed} {' and '.join(PRIVATE_AREAS)} stay private."
    )


def _check(prefix: str, private: Iterable[str]) -> None:
    if any(special in prefix for special in SPECIAL):
        raise ConfigInvalid(f"The prefix {prefix!r} cannot be public: *, ? and ${{ mean something in a policy.")
    for area in private:
        if area[:1] in ("", *DIGITS):
            hint = "Let it begin with a letter: keys that begin with a digit are the public ones."
            raise ConfigInvalid(f"The area {area!r} would be public.", hint=hint)


def _statement(sid: str, action: str, resources: list[str], condition: Mapping[str, object] | None) -> Document:
    plain = {"Sid": sid, "Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": [action], "Resource": resources}
    return plain | ({"Condition": condition} if condition else {})


def _statements(document: Document | None) -> list[Mapping[str, object]]:
    found = (document or {}).get("Statement", [])
    return [statement for statement in _listed(found) if isinstance(statement, dict)]


def _all_grants(document: Document | None) -> set[Grant]:
    return {grant for statement in _statements(document) for grant in _grants(statement)}


def _grants(statement: Mapping[str, object]) -> set[Grant]:
    """What a statement allows everyone; nothing when it denies, or speaks of somebody."""
    if statement.get("Effect") != "Allow" or not _for_everyone(statement):
        return set()
    condition = json.dumps(_canonical(statement["Condition"]), sort_keys=True) if statement.get("Condition") else ""
    resources = [str(item) for item in _listed(statement.get("Resource", []))]
    resources += [f"everything but {item}" for item in _listed(statement.get("NotResource", []))]
    actions = [str(item).lower() for item in _listed(statement.get("Action", []))]
    actions += [f"anything but {item}" for item in _listed(statement.get("NotAction", []))]
    return {
        Grant(action=action, resource=resource, condition=condition) for action in actions for resource in resources
    }


def _for_everyone(statement: Mapping[str, object]) -> bool:
    principal = statement.get("Principal")
    users = principal.get("AWS", []) if isinstance(principal, dict) else principal
    return "NotPrincipal" in statement or "*" in _listed(users)


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _canonical(value: object) -> object:
    """A condition with its lists sorted: servers give them back in an order of their own."""
    if isinstance(value, dict):
        return {key: _canonical(part) for key, part in value.items()}
    return sorted(map(str, value)) if isinstance(value, list) else [str(value)]


def _warning(grant: Grant, areas: Iterable[str]) -> str:
    """What to add when a pattern reaches into areas that must stay private."""
    _, slash, pattern = grant.resource.removeprefix(ARN).partition("/")
    head = pattern.partition("*")[0].partition("?")[0]
    reached = [area for area in areas if area.startswith(head) or head.startswith(area)] if slash else []
    return f" (which opens {' and '.join(reached)})" if reached else ""
