"""The policy of a bucket: what is public, what never is, and the difference in words."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

from comfygen.bucket_policy import Document, compare_policies, explain_policy, merge_policies, wanted_policy
from comfygen.errors import ConfigInvalid

OPEN: Document = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": ["*"]},
            "Action": ["s3:GetObject"],
            "Resource": ["arn:aws:s3:::comfy-gen/*"],
        }
    ],
}


def public(**options: Any) -> dict[str, Any]:
    document = wanted_policy("public", bucket="comfy-gen", **options)
    assert document is not None
    return dict(document)


def readable(document: dict[str, Any], key: str) -> bool:
    """Whether everyone may read a key, as a server would decide."""
    (statement,) = (each for each in document["Statement"] if each["Action"] == ["s3:GetObject"])
    return any(fnmatchcase(f"arn:aws:s3:::comfy-gen/{key}", pattern) for pattern in statement["Resource"])


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("20260104_011032_harbour-abcdefghijkl.png", True),
        ("20260104_011032_harbour-abcdefghijkl.png.json", True),
        ("99990104_011032_x.mp4", True),
        ("requests/harbour.yaml", False),
        ("requests/done/20260104.yaml", False),
        (".comfygen/claims/20260104", False),
        (".comfygen/heartbeat-box", False),
        ("notes.txt", False),
    ],
)
@pytest.mark.parametrize("prefix", ["", "art/"])
def test_outputs_are_public_and_nothing_else(prefix: str, key: str, expected: bool) -> None:
    """Keys that begin with a digit are readable; requests and our own objects never are."""
    assert readable(public(prefix=prefix), prefix + key) is expected


@pytest.mark.parametrize("access", ["private", "presigned"])
def test_private_and_presigned_buckets_have_no_policy(access: Any) -> None:
    """Without a document nobody reads without credentials."""
    assert wanted_policy(access, bucket="comfy-gen") is None


def test_listing_is_limited_to_outputs() -> None:
    """Listing is off by default; when it is on, it asks for a prefix that begins with a digit."""
    assert len(public()["Statement"]) == 1
    statement = public(prefix="art/", listing=True)["Statement"][1]
    assert (statement["Action"], statement["Resource"]) == (["s3:ListBucket"], ["arn:aws:s3:::comfy-gen"])
    assert statement["Condition"]["StringLike"]["s3:prefix"][2] == "art/2*"


@pytest.mark.parametrize("prefix", ["a*/", "a?/", "${aws:username}/"])
def test_a_prefix_with_wildcards_cannot_be_public(prefix: str) -> None:
    """In a policy they would match other things as well."""
    with pytest.raises(ConfigInvalid, match="cannot be public"):
        public(prefix=prefix)


def test_an_area_that_begins_with_a_digit_cannot_stay_private() -> None:
    """An inbox at `2do/` would be public: refused."""
    with pytest.raises(ConfigInvalid, match="would be public"):
        public(private=["2do/"])


def test_equal_policies_have_no_difference() -> None:
    """Neither order, nor single values for lists, nor names of statements count."""
    wanted = public(listing=True)
    same: dict[str, Any] = {"Statement": [dict(each) for each in reversed(wanted["Statement"])]}
    for statement in same["Statement"]:
        statement.pop("Sid")
        statement["Principal"] = "*"
        statement["Action"] = statement["Action"][0]
        statement["Resource"] = statement["Resource"][::-1]
    same["Statement"][0]["Condition"]["StringLike"]["s3:prefix"] = [f"{digit}*" for digit in reversed("0123456789")]
    assert compare_policies(same, wanted) == ()


def test_a_missing_policy_is_told_in_words() -> None:
    """Each pattern that should be readable is named."""
    differences = compare_policies(None, public())
    assert (len(differences), differences[0]) == (10, "missing: everyone may read comfy-gen/0*")


def test_an_open_bucket_is_told_with_what_it_exposes() -> None:
    """The policy that people copy from everywhere opens the requests too."""
    assert compare_policies(OPEN, None) == (
        "not wanted: everyone may read comfy-gen/* (which opens requests/ and .comfygen/)",
    )


def test_a_pattern_elsewhere_exposes_nothing() -> None:
    """Only patterns that reach a private area are warned of."""
    other = {"Statement": [dict(OPEN["Statement"][0], Resource="arn:aws:s3:::comfy-gen/shared/*")]}  # type: ignore[index]
    assert compare_policies(other, None, prefix="art/") == ("not wanted: everyone may read comfy-gen/shared/*",)


def test_not_resource_and_other_actions_are_told_too() -> None:
    """Nothing that opens the bucket hides behind an unusual spelling."""
    odd = {
        "Statement": {
            "Effect": "Allow",
            "Principal": "*",
            "NotAction": "s3:DeleteObject",
            "NotResource": "arn:aws:s3:::comfy-gen/img/*",
        }
    }
    (difference,) = compare_policies(odd, None)
    assert difference.startswith("not wanted: everyone may do anything but s3:DeleteObject on everything but")


def test_merging_keeps_denials_and_named_users() -> None:
    """What everyone may do is ours to say; the rest of a bucket's policy stays."""
    denial = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::comfy-gen/*"}
    named = {"Effect": "Allow", "Principal": {"AWS": ["ann"]}, "Action": "s3:GetObject", "Resource": "*"}
    existing = {"Statement": [OPEN["Statement"][0], denial, named]}  # type: ignore[index]
    merged = merge_policies(existing, public())
    assert merged is not None
    assert merged["Statement"] == [denial, named, *public()["Statement"]]


def test_merging_nothing_with_nothing_is_no_policy() -> None:
    """An open bucket made private loses its policy."""
    assert merge_policies(OPEN, None) is None


@pytest.mark.parametrize(
    ("access", "listing", "expected"),
    [
        ("public", False, "--listing"),
        ("public", True, "prefix=art/2"),
        ("private", False, "nobody"),
        ("presigned", False, "expire"),
    ],
)
def test_each_setting_is_explained(access: Any, listing: bool, expected: str) -> None:
    """People read what a setting means before they apply it."""
    assert expected in explain_policy(access, bucket="comfy-gen", prefix="art/", listing=listing)
