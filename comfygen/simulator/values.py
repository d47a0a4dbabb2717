"""Values: what flows along the links of a graph while it is simulated; digests and sizes instead of tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from comfygen.images import Picture


@dataclass(frozen=True, kw_only=True)
class Value:
    """One output of a node.

    `digest` says all that the pixels depend on. `width` and `height` are pixels, for latents too; `count` is how many
    pictures it holds, of which `frames` in a row are one video. `source` is an uploaded picture that shines through
    where `weight` is below 1; `colour` a plain one instead of a landscape.
    """

    digest: str
    width: int = 0
    height: int = 0
    count: int = 1
    frames: int = 1
    fps: float = 0.0
    steps: int = 0
    family: str = ""
    text: str = ""
    weight: float = 1.0
    source: Picture | None = field(default=None, repr=False)
    colour: int | None = None


@dataclass(frozen=True, kw_only=True)
class Call:
    """A node about to run: its literals as they are, its linked inputs as Values."""

    node: str
    name: str
    inputs: dict[str, Any]
    returns: tuple[str, ...]

    def value(self, name: str) -> Value:
        """A linked input; a plain value where a link belongs fails as it does in ComfyUI: only now."""
        value = self.inputs[name]
        if isinstance(value, Value):
            return value
        kind = type(value).__name__
        raise NodeFailed("TypeError", f"{'string' if kind == 'str' else kind} indices must be integers, not 'str'")

    def maybe(self, name: str) -> Value | None:
        return self.value(name) if self.inputs.get(name) is not None else None

    def number(self, name: str, default: int = 0) -> int:
        value = self.inputs.get(name, default)
        return int(value) if isinstance(value, (int, float)) else default

    def text(self, name: str) -> str:
        return str(self.inputs.get(name, ""))

    def digest(self, slot: int = 0, *, without: Iterable[str] = ()) -> str:
        """The digest of one output: class, literals and the digests of all linked inputs."""
        known = {name: _known(value) for name, value in self.inputs.items() if name not in without}
        return digest_of(self.name, known, slot)


class NodeFailed(Exception):
    """A node raised: the name of the exception's type, and its message."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind, self.message = kind, message
        super().__init__(message)


def digest_of(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _known(value: Any) -> Any:
    return ["digest", value.digest] if isinstance(value, Value) else value
