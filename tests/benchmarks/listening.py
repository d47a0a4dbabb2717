"""A bare listener on a bucket: prints each key that was written, and when its event was here.

python -m tests.benchmarks.listening ENDPOINT BUCKET ACCESS_KEY SECRET_KEY
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp
from botocore.credentials import Credentials
from yarl import URL

from comfygen.minio_client import StoreSettings
from comfygen.minio_client.connection import sign_query


async def main(endpoint: str, bucket: str, access: str, secret: str) -> None:
    settings = StoreSettings(endpoint=endpoint, bucket=bucket, access_key=access, secret_key=secret)
    query = [("events", "s3:ObjectCreated:*"), ("ping", "1"), ("prefix", ""), ("suffix", "")]
    url, headers = sign_query(settings, query, Credentials(access, secret))
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(URL(url, encoded=True), headers={**headers, "Accept-Encoding": "identity"}) as answer,
    ):
        print(json.dumps(["", 0]), flush=True)  # the status line comes with the first ping: it is subscribed
        async for line in answer.content:
            now = time.perf_counter()
            for record in json.loads(line)["Records"] or ():
                print(json.dumps([record["s3"]["object"]["key"], now]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
