"""Config: one frozen value from file, credentials, environment and flags (later ones win).

The file is YAML. An environment variable `COMFYGEN_<KEY>` names a key with `__` between levels
(`COMFYGEN_COMFYUI__0__URL`). With systemd, files `comfygen_<key>` in `$CREDENTIALS_DIRECTORY` hold secrets.
Relative paths count from the folder of the file; those of the environment and of flags from the working folder.
"""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from comfygen.documents import load_documents
from comfygen.errors import ConfigInvalid, InvalidInput, Problem

PREFIX = "COMFYGEN_"
RESERVED = {"COMFYGEN_CONFIG", "COMFYGEN_FAILPOINT", "COMFYGEN_COMPLETE"}
RESERVED_PREFIX = "COMFYGEN_TEST_"
DEFAULT_PLACES = {"state_dir": "state", "inbox": [{"folder": "requests"}], "store": {"folder": "outputs"}}
PATH_KEYS = {"state_dir", "workflows", "presets", "folder", "inputs"}


def _address(value: object) -> str:
    host, _, port = str(value).rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8189")
    return str(value)


def _url(value: object) -> str:
    parts = urlsplit(str(value))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// address, such as http://127.0.0.1:8188")
    return str(value).rstrip("/")


Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]+$")]
Address = Annotated[str, BeforeValidator(_address)]
Url = Annotated[str, BeforeValidator(_url)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Settings(BaseModel):
    """The base of every part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InboxConfig(Settings):
    """Where requests arrive: a folder, or a prefix of the store's bucket."""

    folder: Path | None = Field(None, description="folder that request files are dropped into")
    prefix: str | None = Field(
        None, pattern=r"^[^/.][^/]*/([^/]+/)*$", description="prefix of the bucket that request objects are put under"
    )
    after: Literal["move", "keep", "delete"] = Field("move", description="what happens to a request object afterwards")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.folder is None) == (self.prefix is None):
            raise ValueError("an inbox is either a `folder` or a `prefix`")
        return self


class StoreConfig(Settings):
    """Where outputs and sidecars live: a folder, or a bucket of an S3 server."""

    folder: Path | None = Field(None, description="folder that outputs and sidecars are written to")
    endpoint: Url | None = Field(None, description="address of the S3 server")
    bucket: str | None = Field(
        None, description="bucket for outputs and sidecars", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
    )
    prefix: str = Field("", description="prefix of every key", pattern=r"^([^/].*/)?$")
    access_key: str | None = Field(None, description="access key of the S3 server")
    secret_key: SecretStr | None = Field(None, description="secret key of the S3 server")
    region: str = Field("us-east-1", description="region to sign for")
    public_url: Url | None = Field(None, description="address under which people reach the objects")
    policy: Literal["public", "private", "presigned"] = Field("private", description="who may read the outputs")
    notifications: Literal["listen", "webhook", "poll"] = Field("listen", description="how changes are learnt")
    canary_seconds: Seconds = Field(60, description="how often an object is written to test the notifications")
    webhook_token: SecretStr | None = Field(None, description="bearer token of POST /hooks/bucket")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.folder is None) == (self.bucket is None):
            raise ValueError("a store is either a `folder`, or an `endpoint` with a `bucket`")
        if self.bucket is not None and (self.endpoint is None or self.access_key is None or self.secret_key is None):
            raise ValueError("a `bucket` needs `endpoint`, `access_key` and `secret_key`")
        return self


class BackendConfig(Settings):
    """A ComfyUI server."""

    url: Url = Field(description="address of the ComfyUI server")


class LimitsConfig(Settings):
    """Bounds and intervals; the defaults suit one box with one GPU."""

    rescan_seconds: Seconds = Field(30, description="how often inboxes are listed besides events")
    reconcile_seconds: Seconds = Field(600, description="how often the index is compared with the store")
    settle_seconds: Seconds = Field(1, description="how long a broken file must be left alone before it is refused")
    spool_bytes: int = Field(20 * 2**30, gt=0, description="outputs waiting for the store before generation pauses")
    attempts: int = Field(3, ge=1, le=100, description="how often a job is tried before it fails")
    queue_timeout: Seconds = Field(86_400, description="how long a prompt may wait in ComfyUI's queue")
    stall_seconds: Seconds = Field(900, description="how long a running prompt may show no progress")
    claim_lease_seconds: Seconds = Field(60, description="how long a claim on a request object lasts unrenewed")


class Config(Settings):
    """The whole configuration."""

    state_dir: Path = Field(description="where queue.db, index.db and the spool live")
    inbox: tuple[InboxConfig, ...] = Field(min_length=1, description="where requests arrive")
    store: StoreConfig = Field(description="where outputs and sidecars live")
    comfyui: tuple[BackendConfig, ...] = Field((BackendConfig(url="http://127.0.0.1:8188"),), min_length=1)
    workflows: Path | None = Field(None, description="folder of workflow graphs; the built-in ones if absent")
    presets: Path | None = Field(None, description="presets file; the built-in one if absent")
    http: Address = Field("127.0.0.1:8189", description="where the service answers /healthz and /status")
    history: Address = Field("127.0.0.1:8001", description="where Datasette listens")
    inputs: tuple[Path, ...] = Field((), description="more folders that `input_image` may name files in")
    input_hosts: tuple[Host, ...] = Field((), description="hosts that `input_image` may name addresses of")
    limits: LimitsConfig = LimitsConfig()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        """Outputs must never fall into an inbox: they would be taken for requests, or hide them."""
        prefixes = [inbox.prefix for inbox in self.inbox if inbox.prefix is not None]
        if prefixes and self.store.bucket is None:
            raise ValueError("an inbox with a `prefix` needs a store with a `bucket`")
        for prefix in prefixes:
            if self.store.prefix.startswith(prefix):
                raise ValueError(f"outputs below {self.store.prefix!r} would fall into the inbox {prefix!r}")
        for one, other in itertools.permutations(prefixes, 2):
            if one.startswith(other):
                raise ValueError(f"the inboxes {one!r} and {other!r} overlap")
        folders = [Path(os.path.realpath(inbox.folder)) for inbox in self.inbox if inbox.folder is not None]
        outputs = Path(os.path.realpath(self.store.folder)) if self.store.folder is not None else None
        for folder in folders:
            if outputs is not None and outputs.is_relative_to(folder):
                raise ValueError(f"outputs in {self.store.folder} would fall into the inbox {folder}")
        for folder, parent in itertools.permutations(folders, 2):
            if folder in {parent, parent / "work", parent / "done", parent / "failed"}:
                raise ValueError(f"the inboxes {folder} and {parent} overlap")
        return self

    @property
    def queue_db(self) -> Path:
        return self.state_dir / "queue.db"

    @property
    def index_db(self) -> Path:
        return self.state_dir / "index.db"

    @property
    def spool(self) -> Path:
        return self.state_dir / "spool"


def split_address(address: str) -> tuple[str, int]:
    """`127.0.0.1:8189` as host and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def load_config(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Config:
    """The configuration. `path` falls back to `COMFYGEN_CONFIG`. Raises ConfigInvalid with every mistake."""
    if path is None and environ.get("COMFYGEN_CONFIG"):
        path = Path(environ["COMFYGEN_CONFIG"])
    tree, lines = _read(path) if path is not None else ({}, {})
    base = path.parent.resolve() if path is not None else Path.cwd()
    tree = _rooted(tree, base)
    problems: list[Problem] = []
    for name, text in {**_credentials(environ), **_variables(environ)}.items():
        problems += _put(tree, name, text)
    for dotted, value in (flags or {}).items():
        _set(tree, dotted.split("."), value)
    tree = _rooted(DEFAULT_PLACES, base) | _rooted(tree, Path.cwd())
    try:
        config = Config.model_validate(tree)
    except ValidationError as exc:
        problems += [_problem(error, str(path) if path else None, lines) for error in exc.errors()]
    if problems:
        raise ConfigInvalid("The configuration cannot be used:", problems=problems)
    return config


def _read(path: Path) -> tuple[dict[str, Any], Mapping[tuple[str | int, ...], int]]:
    try:
        text = path.read_bytes()
    except OSError as exc:
        hint = "Name an existing file with --config or COMFYGEN_CONFIG."
        raise ConfigInvalid(f"{path}: {exc.strerror}.", hint=hint) from exc
    try:
        documents = load_documents(text, file=str(path))
    except InvalidInput as exc:
        raise ConfigInvalid("The configuration cannot be read:", problems=exc.problems) from exc
    values = [document.value for document in documents if document.value is not None]
    if not values:
        return {}, {}
    if len(values) > 1 or not isinstance(values[0], dict):
        raise ConfigInvalid(f"{path} must hold one mapping of keys.")
    return values[0], documents[0].lines


def _rooted(value: Any, base: Path) -> Any:
    """A part of the tree with its relative paths made absolute."""
    if isinstance(value, list):
        return [_rooted(item, base) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _path(item, base) if key in PATH_KEYS else _rooted(item, base) for key, item in value.items()}


def _path(value: Any, base: Path) -> Any:
    """A path, or a list of some, made absolute; what is no text is left for the validation to refuse."""
    if isinstance(value, list):
        return [_path(item, base) for item in value]
    if not isinstance(value, str) or not value:
        return value
    return str(base / (Path(value).expanduser() if value.startswith("~/") else value))


def _credentials(environ: Mapping[str, str]) -> dict[str, str]:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder or not Path(folder).is_dir():
        return {}
    files = sorted(path for path in Path(folder).iterdir() if path.name.lower().startswith(PREFIX.lower()))
    return {path.name.upper(): path.read_text(encoding="utf-8").strip() for path in files}


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text
        for name, text in sorted(environ.items())
        if name.startswith(PREFIX) and name not in RESERVED and not name.startswith(RESERVED_PREFIX)
    }


def _put(tree: dict[str, Any], name: str, text: str) -> list[Problem]:
    """Set the key that a variable names; a variable that names none is a mistake."""
    keys = name.removeprefix(PREFIX).lower().split("__")
    if keys[0] in Config.model_fields:
        _set(tree, keys, text)
        return []
    close = difflib.get_close_matches(keys[0], Config.model_fields, 1)
    hint = f"Did you mean {PREFIX}{close[0].upper()}?" if close else f"Keys: {', '.join(Config.model_fields)}."
    return [Problem(file="environment", field=name, message="names no key of the configuration.", hint=hint)]


def _set(tree: dict[str, Any], keys: list[str], value: object) -> None:
    """Put a value at a path of keys; a number is a place in a list, which grows as needed."""
    here: Any = tree
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        fresh: Any = value if following is None else [] if following.isdigit() else {}
        if isinstance(here, list) and key.isdigit():
            here.extend({} for _ in range(int(key) + 1 - len(here)))
            here[int(key)] = fresh if following is None else here[int(key)] or fresh
            here = here[int(key)]
        elif isinstance(here, dict):
            here[key] = fresh if following is None else here.get(key) or fresh
            here = here[key]
        else:
            return


def _problem(error: Any, file: str | None, lines: Mapping[tuple[str | int, ...], int]) -> Problem:
    place: tuple[str | int, ...] = tuple(error["loc"])
    field = ".".join(str(part) for part in place)
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
    if error["type"] == "extra_forbidden":
        owner = _model_at(place[:-1])
        close = difflib.get_close_matches(str(place[-1]), owner, 1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Keys here: {', '.join(owner)}."
        return Problem(file=file, line=line, field=field, message="is no key of the configuration.", hint=hint)
    message = str(error["msg"]).removeprefix("Value error, ")
    return Problem(file=file, line=line, field=field or None, message=f"{message}.")


def _model_at(place: tuple[str | int, ...]) -> list[str]:
    parts: dict[object, type[Settings]] = {
        "inbox": InboxConfig,
        "store": StoreConfig,
        "comfyui": BackendConfig,
        "limits": LimitsConfig,
    }
    return list((parts.get(place[0], Config) if place else Config).model_fields)


def environment() -> Mapping[str, str]:
    """The process environment (the one place that reads it)."""
    return os.environ
