"""Spool: outputs on local disk, checked and durable, until the store has them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import mimetypes
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from comfygen.comfyui_client import ComfyUIClient, OutputRef
from comfygen.errors import ComfyGenError, OutputMissing
from comfygen.images import check_image
from comfygen.sidecar import base_name, object_key
from comfygen.videos import probe
from comfygend.inbox.drops import sync_folder
from comfygend.ledger import Job, Output
from comfygend.logs import escaped

log = logging.getLogger(__name__)
FETCHES = 3
SUFFIX = re.compile(r"\.[a-z0-9_-]{1,16}")

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".apng", ".avif", ".bmp", ".tif", ".tiff"}
VIDEOS = {".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v"}
MEDIA_TYPES = {".webp": "image/webp", ".webm": "video/webm", ".mkv": "video/x-matroska", ".apng": "image/apng"}


class SpoolUnwritable(ComfyGenError):
    """The spool cannot be written to."""

    code = "spool_unwritable"
    retryable = True


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a file turned out to be, after decoding it."""

    media_type: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None


class Spool:
    """A folder per job; a file in it is whole, decoded, and on disk for good."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def collect(self, client: ComfyUIClient, job: Job, refs: Sequence[OutputRef]) -> list[Output]:
        """Fetch every output of a job. Repeating it is safe.

        Raises OutputMissing for one that is gone or broken, SpoolUnwritable when the disk is full, say.
        """
        if not refs:
            hint = "ComfyUI served it from its cache, or the workflow saves nothing."
            raise OutputMissing(f"Job {job.id} ended without any output.", hint=hint)
        place = self.folder / job.id
        try:
            await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
            outputs = [await self._again(client, job, place, n, ref, len(refs)) for n, ref in enumerate(refs, start=1)]
            await asyncio.to_thread(sync_folder, place)
            await asyncio.to_thread(sync_folder, self.folder)
        except OSError as exc:
            hint = "Free some space on its disk, or mend its rights: ComfyUI has the outputs still."
            raise SpoolUnwritable(f"The spool {self.folder} cannot be written: {exc.strerror}.", hint=hint) from exc
        return outputs

    async def _again(self, client: ComfyUIClient, job: Job, place: Path, n: int, ref: OutputRef, of: int) -> Output:
        """Fetch an output, and once more when it came broken: that is cheaper than the GPU's work."""
        for _ in range(FETCHES - 1):
            try:
                return await self._one(client, job, place, n, ref, of)
            except OutputMissing as exc:
                log.info("job %s: output %d is fetched again: %s", job.id, n, escaped(str(exc)))
        return await self._one(client, job, place, n, ref, of)

    async def _one(self, client: ComfyUIClient, job: Job, place: Path, n: int, ref: OutputRef, of: int) -> Output:
        suffix = suffix_of(ref.filename)
        part, whole = place / f"{n}{suffix}.part", place / f"{n}{suffix}"
        size = await client.fetch(ref, part)
        if size == 0:
            raise OutputMissing(f"{ref.filename} is empty.")
        facts, digest = await asyncio.to_thread(_settle, part, whole, suffix)
        key = object_key(
            stamp=job.stamp,
            name=base_name(output=job.request.output, workflow=job.plan.workflow),
            job=job.id,
            n=n if of > 1 else None,
            ext=suffix,
        )
        path = str(whole.relative_to(self.folder))
        return Output(n=n, node=ref.node, path=path, key=key, bytes=size, sha256=digest, **vars(facts))

    def path(self, output: Output) -> Path:
        """Where an output lies."""
        return self.folder / output.path

    def has(self, outputs: Sequence[Output]) -> bool:
        """Whether all of them are there, as large as they were."""
        paths = [(self.path(output), output.bytes) for output in outputs]
        return all(path.is_file() and path.stat().st_size == size for path, size in paths)

    def drop(self, job: str) -> None:
        """Forget a job's files: the store has them."""
        shutil.rmtree(self.folder / job, ignore_errors=True)

    def drop_all_but(self, jobs: set[str]) -> None:
        """Forget the files of every job that is not among these."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in jobs:
                    shutil.rmtree(path, ignore_errors=True)


def suffix_of(filename: str) -> str:
    """The ending that a file gets in the spool and in the store: its own, where that is a plain one."""
    suffix = PurePosixPath(filename).suffix.lower()
    return suffix if SUFFIX.fullmatch(suffix) else ".bin"


def look_into(path: Path, suffix: str) -> Facts:
    """Decode a file as what its name says it is. Raises OutputMissing when it is broken."""
    media_type = MEDIA_TYPES.get(suffix) or mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
    if suffix in IMAGES:
        image = check_image(path.read_bytes())
        return Facts(
            media_type=image.media_type,
            width=image.width,
            height=image.height,
            frames=image.frames if image.frames > 1 else None,
        )
    if suffix in VIDEOS:
        video = probe(path)
        return Facts(media_type=media_type, width=video.width, height=video.height, frames=video.frames, fps=video.fps)
    return Facts(media_type=media_type)


def _settle(part: Path, whole: Path, suffix: str) -> tuple[Facts, str]:
    facts = look_into(part, suffix)
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    part.replace(whole)
    return facts, digest
