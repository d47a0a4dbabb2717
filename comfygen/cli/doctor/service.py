"""Is a service running, what does it say of itself, and is its address free?"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from comfygen.cli.doctor.finding import Finding, bad, warn, well
from comfygen.cli.doctor.site import Site, asked
from comfygen.config import split_address

START = "Start it: `systemctl start comfygend`, or `comfygend --config FILE`."


def service(site: Site) -> Iterator[Finding]:
    """The service, by its lock and by its own words."""
    address = site.config.http
    if site.service is None:
        yield warn("service", f"No service works with {site.config.state_dir}.", START)
        yield from _address(address)
        return
    yield well("service", f"pid {site.service} works with {site.config.state_dir}")
    if address.endswith(":0"):
        return
    answer = asked(address, "/healthz")
    if answer is None:
        remedy = "Is `http` the address it was started with? If so, look at its log and restart it."
        yield bad("service health", f"pid {site.service} does not answer at http://{address}/healthz.", remedy)
        return
    troubles = answer[1].get("troubles") or {}
    for part, trouble in troubles.items():
        yield bad(f"service: {part}", str(trouble.get("message")), str(trouble.get("hint") or "See its log."))
    if not troubles:
        yield well("service health", "it says that every part of it works")


def _address(address: str) -> Iterator[Finding]:
    host, port = split_address(address)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as exc:
        remedy = "End the program that listens there (`ss -ltnp`), or choose another `http` address."
        yield bad("http address", f"{address} cannot be had: {exc.strerror}.", remedy)
    else:
        yield well("http address", f"{address} is free")
