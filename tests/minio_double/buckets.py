"""Buckets: create, delete, policy, notification, versioning, and what else is asked of a bucket as a whole."""

from __future__ import annotations

from tests.minio_double.answers import (
    OWNER,
    Answer,
    Refusal,
    document,
    parse_xml,
    tag,
    xml_answer,
)
from tests.minio_double.calls import Call
from tests.minio_double.clock import iso_date
from tests.minio_double.notifications import parse_rules, rules_xml
from tests.minio_double.policy import parse_policy
from tests.minio_double.records import Happening
from tests.minio_double.rules import check_bucket_name
from tests.minio_double.state import State

_XML = {"Content-Type": "application/xml"}
_OWNER = tag("Owner", tag("ID", OWNER), tag("DisplayName", "minio"))


def list_buckets(state: State, call: Call) -> Answer:
    lines = [
        tag("Bucket", tag("Name", name), tag("CreationDate", iso_date(created)))
        for name, created in sorted(state.storage.buckets())
    ]
    return xml_answer(document("ListAllMyBucketsResult", _OWNER, tag("Buckets", *lines)))


def create_bucket(state: State, call: Call) -> Answer:
    check_bucket_name(call.bucket)
    if state.storage.has(call.bucket):
        raise Refusal("BucketAlreadyOwnedByYou")
    state.storage.create(call.bucket)
    return Answer(headers={"Location": f"/{call.bucket}"}, happened=(_bucket_event("Created", call),))


def _bucket_event(what: str, call: Call) -> Happening:
    return Happening(name=f"s3:Bucket{what}:*", bucket=call.bucket, key="")


def head_bucket(state: State, call: Call) -> Answer:
    state.storage.bucket(call.bucket)
    return Answer(headers=_XML, length=0)


def delete_bucket(state: State, call: Call) -> Answer:
    """The bucket goes, and its policy and rules with it; its listeners stay, and are pinged as before."""
    if not state.storage.is_empty(call.bucket):
        raise Refusal("BucketNotEmpty")
    forget_bucket(state, call.bucket)
    return Answer(status=204, happened=(_bucket_event("Removed", call),))


def forget_bucket(state: State, bucket: str) -> None:
    """Remove a bucket with all that belongs to it."""
    state.storage.drop(bucket)
    state.policies.pop(bucket, None)
    state.rules.pop(bucket, None)


def get_location(state: State, call: Call) -> Answer:
    state.storage.bucket(call.bucket)
    return xml_answer(document("LocationConstraint", ""))


def get_policy(state: State, call: Call) -> Answer:
    state.storage.bucket(call.bucket)
    if (policy := state.policies.get(call.bucket)) is None:
        raise Refusal("NoSuchBucketPolicy")
    return Answer(headers={"Content-Type": "application/json"}, body=policy.text)


def put_policy(state: State, call: Call) -> Answer:
    state.storage.bucket(call.bucket)
    state.policies[call.bucket] = parse_policy(call.body, call.bucket)
    return Answer(status=204)


def delete_policy(state: State, call: Call) -> Answer:
    state.storage.bucket(call.bucket)
    state.policies.pop(call.bucket, None)
    return Answer(status=204)


def get_notification(state: State, call: Call) -> Answer:
    """Rules whose target has vanished are not shown."""
    state.storage.bucket(call.bucket)
    rules = [rule for rule in state.rules.get(call.bucket, ()) if rule.arn in state.arns]
    return Answer(headers=_XML, body=rules_xml(rules))


def put_notification(state: State, call: Call) -> Answer:
    state.storage.bucket(call.bucket)
    state.rules[call.bucket] = parse_rules(call.body, state.arns)
    return Answer()


def get_versioning(state: State, call: Call) -> Answer:
    status = state.storage.versioning(call.bucket)
    return xml_answer(document("VersioningConfiguration", *([tag("Status", status)] if status else [])))


def put_versioning(state: State, call: Call) -> Answer:
    status = parse_xml(call.body).findtext("Status", "")
    if status not in {"Enabled", "Suspended"}:
        raise Refusal("MalformedXML")
    state.storage.bucket(call.bucket)
    state.storage.set_versioning(call.bucket, status)
    return Answer()
