"""The folders of the simulated ComfyUI: input, output and temp, on disk for as long as it lives."""

from __future__ import annotations

import mimetypes
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

KINDS = ("input", "output", "temp")
TYPES = {".webp": "image/webp", ".webm": "video/webm", ".mp4": "video/mp4", ".latent": "application/octet-stream"}
MARK = re.compile(r"^(.*) ?\[(input|output|temp)\]$", re.DOTALL)


class OutsideFolder(Exception):
    """A name that leaves its folder; the text is what ComfyUI says."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a saver writes: `folder`, the first free `counter` of `name` in it, and what `outputs` call the two."""

    folder: Path
    name: str
    counter: int
    subfolder: str
    kind: str

    def file(self, number: int, suffix: str, *, mark: str = "_") -> str:
        """The name of the nth file: `name_00001_.png`; VideoHelperSuite leaves the last underscore out."""
        return f"{self.name}_{self.counter + number:05}{mark}{suffix}"


class Folders:
    """A temporary directory with the three folders."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="comfyui-simulator-")).resolve()
        for kind in KINDS:
            (self.root / kind).mkdir()

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def forget_temp(self) -> None:
        """What a restart does to the previews."""
        shutil.rmtree(self.root / "temp", ignore_errors=True)
        (self.root / "temp").mkdir()

    def inside(self, kind: str, *parts: str) -> Path | None:
        """The path below a folder; None when the parts lead out of it."""
        base = self.root / kind
        path = Path(os.path.normpath(base.joinpath(*parts)))
        return path if path == base or base in path.parents else None

    def images(self, kind: str) -> list[str]:
        """The pictures at the top of a folder, sorted: what LoadImage offers."""
        names = (path.name for path in (self.root / kind).iterdir() if path.is_file())
        return sorted(name for name in names if media_type(name).startswith("image/"))

    def annotated(self, name: str, default: str = "input") -> Path | None:
        """The existing file that `name`, `subfolder/name` or `name [output]` means, if it is one of ours."""
        plain, kind = split_mark(name)
        path = self.inside(kind or default, plain)
        return path if path is not None and path.is_file() else None

    def place(self, prefix: str, width: int, height: int, *, kind: str = "output") -> Place:
        """Where the next file with this `filename_prefix` goes; raises OutsideFolder as SaveImage does."""
        prefix = os.path.normpath(_with_variables(prefix, width, height))
        subfolder, name = os.path.split(prefix)
        folder = self.inside(kind, subfolder)
        if folder is None:
            raise OutsideFolder(
                "**** ERROR: Saving image outside the output folder is not allowed.\n"
                f" full_output_folder: <base>\n         output_dir: <base>/{kind}\n         commonpath: <base>"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return Place(folder=folder, name=name, counter=_next(folder, name), subfolder=subfolder, kind=kind)


def media_type(name: str) -> str:
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a name, not a path
    return TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def split_mark(name: str) -> tuple[str, str | None]:
    """`name [output]` as name and folder; the folder is None without a mark."""
    found = MARK.match(name)
    return (found[1].rstrip(), found[2]) if found else (name, None)


def _next(folder: Path, name: str) -> int:
    """One more than the highest number that this name has in the folder, whatever the suffix."""
    numbered = re.compile(re.escape(name) + r"_(\d+)[_.]")
    with os.scandir(folder) as entries:
        found = (numbered.match(entry.name) for entry in entries)
        return max((int(match[1]) for match in found if match), default=0) + 1


def _with_variables(prefix: str, width: int, height: int) -> str:
    if "%" not in prefix:
        return prefix
    now = time.localtime()
    values = {"width": str(width), "height": str(height)}
    values |= {"year": time.strftime("%Y", now), "month": time.strftime("%m", now), "day": time.strftime("%d", now)}
    values |= {"hour": time.strftime("%H", now), "minute": time.strftime("%M", now), "second": time.strftime("%S", now)}
    for name, value in values.items():
        prefix = prefix.replace(f"%{name}%", value)
    return prefix
