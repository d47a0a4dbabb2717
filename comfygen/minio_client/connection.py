"""Connection: the S3 client, the plain HTTP session for listening, and the credentials that both sign with."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.loaders import Loader
from botocore.utils import parse_timestamp

from comfygen.errors import StoreDenied
from comfygen.minio_client.faults import CREDENTIALS, translated
from comfygen.minio_client.settings import StoreSettings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Credentials(Protocol):
    """Credentials that may be renewed at any time."""

    async def get_frozen_credentials(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Everything that is open towards one server. Opening it sends nothing: a server that is down is no obstacle."""

    settings: StoreSettings
    s3: S3Client
    http: aiohttp.ClientSession
    credentials: Credentials
    first: Any  # the frozen credentials at the start, for links that are signed without waiting

    async def signed_url(self, query: list[tuple[str, str]]) -> tuple[str, Mapping[str, str]]:
        """The address of a GET of the bucket with a query, and the headers that sign it."""
        frozen = await self.credentials.get_frozen_credentials()
        return sign_query(self.settings, query, frozen)

    def presigned(self, url: str, seconds: int) -> str:
        """An address that anybody may read for a while."""
        request = AWSRequest(method="GET", url=url)
        S3SigV4QueryAuth(self.first, "s3", self.settings.region, expires=seconds).add_auth(request)
        return str(request.url)


def sign_query(settings: StoreSettings, query: list[tuple[str, str]], frozen: object) -> tuple[str, Mapping[str, str]]:
    """Sign by hand: MinIO keeps the wire's order of repeated keys and botocore sorts, so the wire must be sorted."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    joined = "&".join(f"{name}={value}" for name, value in pairs)
    url = f"{settings.endpoint.rstrip('/')}/{settings.bucket}?{joined}"
    request = AWSRequest(method="GET", url=url)
    request.headers["X-Amz-Content-SHA256"] = EMPTY_SHA256
    S3SigV4Auth(frozen, "s3", settings.region).add_auth(request)
    return url, dict(request.headers.items())


@cache
def _descriptions() -> Loader:
    """botocore's descriptions of S3: megabytes of JSON, read once per process instead of once per client."""
    return Loader()


def read_time(text: str) -> datetime:
    """A time as listings (ISO 8601) and headers tell it. botocore's own way costs as much as sending a request."""
    try:
        return datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
    except ValueError:
        other: datetime = parse_timestamp(text)
        return other


@asynccontextmanager
async def open_connection(settings: StoreSettings) -> AsyncIterator[Connection]:
    """Open the clients; they close with the context."""
    session = get_session()
    session.register_component("data_loader", _descriptions())
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=read_time)
    if settings.access_key is not None:
        session.set_credentials(settings.access_key, settings.secret_key or "")
    async with AsyncExitStack() as stack:
        with translated("s3:*", settings.endpoint):
            credentials: Credentials | None = await session.get_credentials()
            if credentials is None:
                raise StoreDenied("There are no credentials for the bucket.", hint=CREDENTIALS.hint)
            first = await credentials.get_frozen_credentials()
            client: S3Client = await stack.enter_async_context(
                session.create_client(
                    "s3",
                    endpoint_url=settings.endpoint,
                    region_name=settings.region,
                    verify=settings.ca_file,
                    config=_config(settings),
                )
            )
        http = await stack.enter_async_context(_plain_session(settings))
        yield Connection(settings=settings, s3=client, http=http, credentials=credentials, first=first)


def _config(settings: StoreSettings) -> AioConfig:
    return AioConfig(
        s3={"addressing_style": "path"},
        # Many S3 servers refuse the checksum trailers that botocore sends by default.
        request_checksum_calculation=settings.checksums,
        response_checksum_validation=settings.checksums,
        retries={"mode": "standard", "total_max_attempts": settings.attempts},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_pool_connections=settings.connections,
        user_agent="ComfyGen",  # botocore's own is put together anew for each request, out of twenty parts
    )


def _plain_session(settings: StoreSettings) -> aiohttp.ClientSession:
    """No total time-out: aiohttp's default of five minutes would cut every stream."""
    limit = settings.connect_timeout
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, connect=limit, sock_connect=limit),
        connector=aiohttp.TCPConnector(
            ssl=ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True
        ),
        headers={"Accept-Encoding": "identity"},
        trust_env=True,
    )
