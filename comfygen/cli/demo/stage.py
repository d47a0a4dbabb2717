"""The demo's stage: its folder, its configuration, its three requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comfygen.cli.folders import Folders
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
class Stage(Folders):
    """A folder with everything of one demo."""

    def set(self, *, comfyui: str, http: int, history: int) -> None:
        """Make the folder and write its configuration."""
        self.make(CONFIG.format(folder=self.folder, comfyui=comfyui, http=http, history=history))

    def drop(self, name: str) -> str:
        """Drop a copy of an example request, as a person would: its picture first, then the file under a new name."""
        self.put("car.png", car())
        text = (built_in("requests") / f"{name}.example.yaml").read_bytes()
        number = sum(1 for _ in self._ended(name))
        dropped = f"{name}.yaml" if not number else f"{name}-{number + 1}.yaml"
        self.put(dropped, text)
        return dropped

    def _ended(self, name: str) -> Iterator[Path]:
        return (path for place in ("done", "failed") for path in (self.inbox / place).glob(f"{name}*.yaml"))


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
