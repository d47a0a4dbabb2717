"""`comfygen bucket …` against a server with MinIO's rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from comfygen.cli.bucket import command
from comfygen.errors import ConfigInvalid, StoreUnavailable
from tests.integration.minio_stage import BUCKET, Stage, set_stage

OPEN: Mapping[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": ["*"]},
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{BUCKET}/*"],
        }
    ],
}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with set_stage() as stage:
        yield stage


async def run(stage: Stage, folder: Path, *words: str, policy: str = "public", **store: Any) -> Result:
    """The command with a configuration of this server's bucket, in a thread of its own."""
    place = {"endpoint": stage.double.endpoint, "bucket": BUCKET, "prefix": "art/", "policy": policy}
    keys = {"access_key": stage.double.access_key, "secret_key": stage.double.secret_key}
    file = folder / "config.yaml"
    file.write_text(json.dumps({"state_dir": "state", "store": place | keys | store}), encoding="utf-8")
    return await asyncio.to_thread(CliRunner().invoke, command, [*words, "--config", str(file)])


async def test_setup_makes_the_bucket_and_tells_what_the_server_can_do(stage: Stage, tmp_path: Path) -> None:
    """One command from nothing to a bucket that is ready."""
    stage.double.knobs.reset_bucket(BUCKET, recreate=False)
    result = await run(stage, tmp_path, "setup")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == f"comfy-gen: made at {stage.double.endpoint}"
    for word in ("policy: applied", "conditional writes are safe", "notifications: listening"):
        assert word in result.output
    assert await stage.store.policy() is not None


async def test_a_policy_is_compared_applied_and_then_as_it_should_be(stage: Stage, tmp_path: Path) -> None:
    """--check changes nothing and exits 1; applying mends it; then --check is content."""
    checked = await run(stage, tmp_path, "policy", "--check")
    assert (checked.exit_code, "missing: everyone may read comfy-gen/art/0*" in checked.output) == (1, True)
    assert await stage.store.policy() is None
    applied = await run(stage, tmp_path, "policy")
    assert (applied.exit_code, applied.output.splitlines()[-1]) == (0, "policy: applied")
    again = await run(stage, tmp_path, "policy", "--check")
    assert (again.exit_code, again.output.splitlines()[-1]) == (0, "policy: as it should be")


async def test_an_open_bucket_is_closed_again(stage: Stage, tmp_path: Path) -> None:
    """`private` takes away what somebody opened, and says what that was."""
    await stage.store.apply_policy(OPEN)
    result = await run(stage, tmp_path, "policy", policy="private")
    expected = "not wanted: everyone may read comfy-gen/* (which opens art/.comfygen/ and art/requests/)"
    assert expected in result.output
    assert await stage.store.policy() is None


async def test_listing_is_an_own_choice(stage: Stage, tmp_path: Path) -> None:
    """With --listing, everyone may list outputs too."""
    await run(stage, tmp_path, "policy", "--listing")
    document = await stage.store.policy()
    assert document is not None
    assert "s3:ListBucket" in json.dumps(document)


async def test_an_inbox_that_would_be_public_is_refused(stage: Stage, tmp_path: Path) -> None:
    """An inbox prefix that begins with a digit lies among the outputs."""
    file = tmp_path / "own.yaml"
    keys = {"access_key": stage.double.access_key, "secret_key": stage.double.secret_key}
    store = {"endpoint": stage.double.endpoint, "bucket": BUCKET, "policy": "public"} | keys
    file.write_text(json.dumps({"inbox": [{"prefix": "2do/"}], "store": store, "state_dir": "state"}), encoding="utf-8")
    result = await asyncio.to_thread(CliRunner().invoke, command, ["policy", "--config", str(file)])
    assert (type(result.exception), await stage.store.policy()) == (ConfigInvalid, None)


async def test_a_server_that_is_down_is_told(stage: Stage, tmp_path: Path) -> None:
    """The error goes up to the one place that prints it."""
    await stage.double.close()
    result = await run(stage, tmp_path, "policy")
    assert type(result.exception) is StoreUnavailable


async def test_a_folder_has_no_policy(tmp_path: Path) -> None:
    """The command is for buckets, and says what to set."""
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"state_dir": "state", "store": {"folder": "outputs"}}), encoding="utf-8")
    result = await asyncio.to_thread(CliRunner().invoke, command, ["setup", "--config", str(file)])
    assert type(result.exception) is ConfigInvalid
