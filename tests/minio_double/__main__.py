"""The double as a program: ``python -m tests.minio_double --port 9000``; the first line it prints is its endpoint."""

from __future__ import annotations

import argparse
import asyncio
import signal

from tests.minio_double import MinioDouble


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.minio_double", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any that is free")
    parser.add_argument("--root-user", default="comfygen")
    parser.add_argument("--root-password", default="comfygen-secret")
    parser.add_argument("--bucket", action="append", default=[], help="make this bucket (may be repeated)")
    return parser.parse_args()


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    root = {"access_key": arguments.root_user, "secret_key": arguments.root_password}
    async with MinioDouble(arguments.port, host=arguments.host, **root) as double:
        for bucket in arguments.bucket:
            await double.make_bucket(bucket)
        print(double.endpoint, flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(_arguments()))
