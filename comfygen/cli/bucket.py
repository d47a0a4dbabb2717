"""`comfygen bucket setup|policy`: make the bucket, and say who may read it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click

from comfygen.bucket_policy import PRIVATE_AREAS, compare_policies, explain_policy, merge_policies, wanted_policy
from comfygen.config import Config, environment, load_config
from comfygen.minio_client import ConditionalWrites, MinioStore, StoreSettings

F = TypeVar("F", bound=Callable[..., object])
CLAIMS = {
    ConditionalWrites.SAFE: "conditional writes are safe: several services may share an inbox prefix",
    ConditionalWrites.IGNORED: "conditional writes are ignored by this server: run one service only",
    ConditionalWrites.BROKEN: "conditional writes are broken on this server: run one service only",
}


def _options(function: F) -> F:
    config = click.option("--config", "config_file", type=click.Path(path_type=Path), help="the configuration file")
    listing = click.option("--listing", is_flag=True, help="let everyone list the outputs as well")
    return config(listing(function))


@click.group(name="bucket")
def command() -> None:
    """Set up the bucket that outputs and sidecars live in."""


@command.command()
@_options
def setup(config_file: Path | None, listing: bool) -> None:
    """Make the bucket, apply the policy that `store.policy` asks for, and find out what the server can do."""
    asyncio.run(_setup(load_config(config_file, environment()), listing))


@command.command()
@_options
@click.option("--check", is_flag=True, help="change nothing; exit 1 if the bucket is not as it should be")
def policy(config_file: Path | None, listing: bool, check: bool) -> None:
    """Compare the bucket's policy with what `store.policy` asks for, say the differences, and apply it."""
    different = asyncio.run(_policy(load_config(config_file, environment()), listing, check))
    if check and different:
        raise click.exceptions.Exit(1)


async def _setup(config: Config, listing: bool) -> None:
    settings = StoreSettings.of(config.store)
    quick = replace(settings, listening=replace(settings.listening, ping=1))
    async with MinioStore.open(quick) as store:
        made = await store.ensure_bucket()
        click.echo(f"{settings.bucket}: {'made' if made else 'exists'} at {settings.endpoint}")
        await _apply(store, config, listing, check=False)
        click.echo(CLAIMS[await store.probe_conditional("setup")])
        async with store.listen():
            state = store.subscriptions[0].state
        click.echo(f"notifications: {state.state}{f'. {state.remedy}' if state.remedy else ''}")


async def _policy(config: Config, listing: bool, check: bool) -> bool:
    async with MinioStore.open(StoreSettings.of(config.store)) as store:
        return await _apply(store, config, listing, check=check)


async def _apply(store: MinioStore, config: Config, listing: bool, *, check: bool) -> bool:
    """Say what differs and, unless only checking, mend it; whether anything differed."""
    place = store.settings
    private = {*PRIVATE_AREAS, *(inbox.prefix for inbox in config.inbox if inbox.prefix)}
    wanted = wanted_policy(
        place.policy, bucket=place.bucket, prefix=place.prefix, listing=listing, private=sorted(private)
    )
    existing = await store.policy()
    differences = compare_policies(existing, wanted, prefix=place.prefix, private=sorted(private))
    click.echo(explain_policy(place.policy, bucket=place.bucket, prefix=place.prefix, listing=listing))
    for difference in differences:
        click.echo(f"  {difference}")
    if differences and not check:
        await store.apply_policy(merge_policies(existing, wanted))
    click.echo("policy: " + ("as it should be" if not differences else "differs" if check else "applied"))
    return bool(differences)
