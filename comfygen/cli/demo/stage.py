"""The demo's stage: its folder, its configuration, its three requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfygen.images import png_bytes
from comfygen.resources import built_in

REQUESTS = ("landscape", "img2img", "video")
WIDTH, HEIGHT = 640, 480
SKY, SEA, ROAD, CAR = (246, 196, 120), (40, 110, 160), (70, 70, 78), (190, 30, 40)
CONFIG = """\
# Written by `comfygen demo`. To go on with it: comfygend --config {folder}/comfygen.yaml
state_dir: ./state
inbox:
  - folder: ./requests
store:
  folder: ./outputs
comfyui:
  - url: {comfyui}
http: 127.0.0.1:{http}
history: 127.0.0.1:{history}
"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the service wrote beside a request that has ended."""

    name: str
    ok: bool
    told: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A folder with everything of one demo."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "comfygen.yaml"

    @property
    def inbox(self) -> Path:
        return self.folder / "requests"

    @property
    def index(self) -> Path:
        return self.folder / "state" / "index.db"

    def set(self, *, comfyui: str, http: int, history: int) -> None:
        """Make the folder and write its configuration."""
        self.inbox.mkdir(parents=True, exist_ok=True)
        text = CONFIG.format(folder=self.folder, comfyui=comfyui, http=http, history=history)
        self.config.write_text(text, encoding="utf-8")

    def drop(self, name: str) -> str:
        """Drop a copy of an example request, as a person would: its picture first, then the file under a new name."""
        self._put("car.png", car())
        text = (built_in("requests") / f"{name}.example.yaml").read_bytes()
        number = sum(1 for _ in self._ended(name))
        dropped = f"{name}.yaml" if not number else f"{name}-{number + 1}.yaml"
        self._put(dropped, text)
        return dropped

    def _put(self, name: str, content: bytes) -> None:
        """Into the inbox in one step: the service may read it at any moment."""
        part = self.inbox / f".{name}.part"
        part.write_bytes(content)
        part.rename(self.inbox / name)

    def _ended(self, name: str) -> Iterator[Path]:
        return (path for place in ("done", "failed") for path in (self.inbox / place).glob(f"{name}*.yaml"))

    def report(self, name: str) -> Report | None:
        """How the request of this file name ended; None while it has not."""
        for place, suffix in (("done", ".result.json"), ("failed", ".error.json")):
            path = self.inbox / place / f"{name}{suffix}"
            if path.exists():
                return Report(name=name, ok=place == "done", told=json.loads(path.read_bytes()))
        return None


def car() -> bytes:
    """A picture to start from: a red car on a road by the sea, painted in rectangles."""
    rows = [_row(y) for y in range(HEIGHT)]
    return png_bytes(b"".join(rows), WIDTH, HEIGHT)


def _row(y: int) -> bytes:
    ground = SKY if y < HEIGHT // 3 else SEA if y < HEIGHT // 2 else ROAD
    row = bytearray(bytes(ground) * WIDTH)
    for left, right, top, bottom in ((200, 460, 250, 320), (260, 400, 200, 250)):
        if top <= y < bottom:
            row[left * 3 : right * 3] = bytes(CAR) * (right - left)
    if 305 <= y < 345:
        for left in (230, 390):
            row[left * 3 : (left + 40) * 3] = bytes((20, 20, 20)) * 40
    return bytes(row)
