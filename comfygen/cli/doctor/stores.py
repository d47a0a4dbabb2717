"""The store: is it there, may it be written to, is it private, does it say what changes, and does its clock agree?"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from comfygen.bucket_policy import PRIVATE_AREAS, compare_policies, wanted_policy
from comfygen.cli.doctor.disks import space, writable
from comfygen.cli.doctor.finding import Finding, bad, warn, well
from comfygen.cli.doctor.site import Site, asked
from comfygen.errors import StoreDenied, StoreError
from comfygen.minio_client import ConditionalWrites, MinioStore, StoreSettings

REFUSED_SECONDS = 900.0  # S3 servers refuse requests that are dated further off
NOTABLE_SECONDS = 30.0
CLOCK = "Let both machines keep their time by NTP (`timedatectl set-ntp true`)."
LISTENING = ("listening", "polling")


async def store(site: Site) -> list[Finding]:
    """The folder or bucket that outputs go to."""
    config = site.config.store
    if config.folder is not None:
        found = list(writable("store", config.folder))
        return found if found[-1].remedy else [*found, *space("store space", config.folder)]
    settings = StoreSettings.of(config)
    quick = replace(settings, attempts=1, read_timeout=10, listening=replace(settings.listening, ping=1))
    async with MinioStore.open(quick) as bucket:
        clock = await asyncio.to_thread(server_time, settings.endpoint)
        return [*_clock(clock, datetime.now(UTC)), *[finding async for finding in _bucket(site, bucket)]]


async def _bucket(site: Site, bucket: MinioStore) -> AsyncIterator[Finding]:
    name = bucket.settings.bucket
    try:
        if not await bucket.bucket_exists():
            yield bad("bucket", f"There is no bucket {name}.", "Make it: `comfygen bucket setup`.")
            return
        yield well("bucket", f"{name} at {bucket.settings.endpoint}")
        async for _ in bucket.list():
            break
    except StoreError as exc:
        yield bad("bucket", exc.message, exc.hint or "Is the server running, and may we list this bucket?")
        return
    yield await _writing(site, bucket)
    yield await _policy(site, bucket)
    yield await _notifications(site, bucket)


async def _writing(site: Site, bucket: MinioStore) -> Finding:
    shared = any(inbox.prefix for inbox in site.config.inbox)
    try:
        promise = await bucket.probe_conditional(f"doctor-{secrets.token_hex(8)}")
    except StoreError as exc:
        return bad("bucket writes", exc.message, exc.hint or "Give the access key the right to write.")
    if promise is ConditionalWrites.SAFE:
        return well("bucket writes", "conditional writes are safe")
    remedy = "Run one service only for this bucket, or use a server whose conditional writes work (MinIO 2025-10-15)."
    if not shared:
        return well("bucket writes", f"conditional writes are {promise}, which matters only to inboxes in the bucket")
    return warn("bucket writes", f"Conditional writes are {promise}: two services could take the same request.", remedy)


async def _policy(site: Site, bucket: MinioStore) -> Finding:
    place = bucket.settings
    private = sorted({*PRIVATE_AREAS, *(inbox.prefix for inbox in site.config.inbox if inbox.prefix)})
    wanted = wanted_policy(place.policy, bucket=place.bucket, prefix=place.prefix, private=private)
    try:
        differences = compare_policies(await bucket.policy(), wanted, prefix=place.prefix, private=private)
    except StoreDenied as exc:
        return warn("bucket policy", exc.message, "Check it with a key that may read the policy.")
    except StoreError as exc:
        return warn("bucket policy", exc.message, exc.hint or "Check it with the server's own tools.")
    if not differences:
        return well("bucket policy", f"as store.policy ({place.policy}) asks for")
    message = "\n".join([f"It is not as store.policy ({place.policy}) asks for:", *differences])
    return bad("bucket policy", message, "Apply it: `comfygen bucket policy`, or change store.policy.")


async def _notifications(site: Site, bucket: MinioStore) -> Finding:
    """As the running service knows it: one more listener that leaves can make some servers deaf for the others."""
    if site.service is not None:
        answer = await asyncio.to_thread(asked, site.config.http, "/status")
        indexer = answer[1].get("indexer") if answer else None
        told = indexer.get("notifications", {}) if isinstance(indexer, dict) else {}
        state, remedy = str(told.get("state", "unknown")), told.get("remedy")
    else:
        async with bucket.listen():
            seen = bucket.subscriptions[0].state
        state, remedy = str(seen.state), seen.remedy
    if state in LISTENING or not remedy:
        return well("notifications", state)
    return warn("notifications", f"The server is {state}: changes are found later than they could be.", str(remedy))


def server_time(endpoint: str) -> datetime | None:
    """The time by a web server's clock, from the head of any answer; None if it does not say."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    kind = (
        http.client.HTTPSConnection(host, parts.port, timeout=5, context=_incurious())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=5)
    )
    with contextlib.closing(kind) as connection:
        try:
            connection.request("HEAD", "/")
            return parsedate_to_datetime(connection.getresponse().headers["Date"])
        except (OSError, http.client.HTTPException, ValueError, TypeError):
            return None


def _incurious() -> ssl.SSLContext:
    """Only the time is read, and nothing is sent: a certificate that we do not know does not matter here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _clock(theirs: datetime | None, ours: datetime) -> Iterator[Finding]:
    if theirs is None:
        return
    seconds = (theirs - ours).total_seconds()
    told = f"the store's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} ours"
    if abs(seconds) >= REFUSED_SECONDS:
        yield bad("clocks", f"{told[0].upper()}{told[1:]}: it refuses what we sign.", CLOCK)
    elif abs(seconds) >= NOTABLE_SECONDS:
        yield warn("clocks", f"{told[0].upper()}{told[1:]}.", CLOCK)
    else:
        yield well("clocks", "the store's clock and ours agree")
