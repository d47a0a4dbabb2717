"""The running service, as the verbs that control it see it: JSON over its http address."""

from __future__ import annotations

import http.client
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click

from comfygen.cli import ServiceUnavailable
from comfygen.config import environment, load_config, split_address
from comfygen.errors import ComfyGenError, ConfigInvalid, InvalidInput, NotFound

Told: TypeAlias = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])
ANSWER_SECONDS = 30.0
HEADERS = {"X-ComfyGen": "control"}
LOCAL = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}
KINDS: dict[int, type[ComfyGenError]] = {404: NotFound, 400: InvalidInput}


def options(function: F) -> F:
    """The options that all verbs of control share."""
    shared = (
        click.option("--json", "as_json", is_flag=True, help="Print the service's answer as JSON."),
        click.option("--url", help="Address of the service instead of the configured one, as http://HOST:PORT."),
        click.option(
            "--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="Configuration of the service."
        ),
    )
    for option in shared:
        function = option(function)
    return function


@dataclass(frozen=True, kw_only=True)
class Service:
    """A client of one service. Raises ServiceUnavailable, NotFound, InvalidInput, or ComfyGenError for a refusal."""

    url: str

    @classmethod
    def of(cls, path: Path | None, url: str | None) -> Service:
        """The service at `url`, or the one of a configuration."""
        if url:
            return cls(url=url.rstrip("/"))
        host, port = split_address(load_config(path, environment()).http)
        if port == 0:
            raise ConfigInvalid("The configured `http` port is 0, so nobody knows it.", hint="Give --url.")
        return cls(url=f"http://{LOCAL.get(host, f'[{host}]' if ':' in host else host)}:{port}")

    def get(self, *path: str, **query: str) -> Told:
        """Ask."""
        words = urllib.parse.urlencode({name: value for name, value in query.items() if value})
        return self._asked(self._place(path) + (f"?{words}" if words else ""))

    def post(self, *path: str) -> Told:
        """Order."""
        return self._asked(self._place(path), data=b"")

    def _place(self, path: Sequence[str]) -> str:
        return "/".join([self.url, *(urllib.parse.quote(part, safe="") for part in path)])

    def _asked(self, place: str, data: bytes | None = None) -> Told:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is near: no proxy is asked
        try:
            request = urllib.request.Request(place, data=data, headers=HEADERS)
            with opener.open(request, timeout=ANSWER_SECONDS) as answer:
                return self._read(answer.read())
        except urllib.error.HTTPError as exc:
            raise _refusal(exc.code, self._read(exc.read())) from exc
        except (OSError, http.client.HTTPException, ValueError) as exc:
            hint = "Is it running (`systemctl status comfygend`), and is `http` its address?"
            raise ServiceUnavailable(f"No service answers at {self.url}.", hint=hint) from exc

    def _read(self, body: bytes) -> Told:
        try:
            told = json.loads(body)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise ServiceUnavailable(f"What answers at {self.url} is not comfygend.", hint="Is `http` its address?")
        return told

    def get_either(self, subject: str) -> Told:
        """A request or a job of this name."""
        try:
            return self.get("requests", subject)
        except NotFound:
            return self.get("jobs", subject)

    def cancel_either(self, subject: str) -> Told:
        """Cancel a request or a job of this name."""
        try:
            return self.post("requests", subject, "cancel")
        except NotFound:
            return self.post("jobs", subject, "cancel")


def _refusal(status: int, told: Told) -> ComfyGenError:
    """The error that the service has answered with."""
    error = told.get("error")
    error = error if isinstance(error, dict) else {}
    message, hint = str(error.get("message") or f"The service answered {status}."), error.get("hint")
    return KINDS.get(status, ComfyGenError)(message, hint=hint)


def tell(told: Told, as_json: bool) -> None:
    """Print an answer: its message, or all of it."""
    click.echo(json.dumps(told, ensure_ascii=False, indent=2) if as_json else str(told.get("message")))


def readable(text: object) -> str:
    """A value on one line, without anything that would move the cursor."""
    shown = "" if text is None else str(text)
    return "".join(char if char.isprintable() else " " for char in shown)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on a terminal, lines with tabs otherwise."""
    plain = [[readable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in plain:
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in plain:
        table.add_row(*(Text(cell, overflow="ellipsis", no_wrap=True) for cell in row))
    Console().print(table)
