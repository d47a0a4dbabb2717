"""The places of a folder inbox: making them, and knowing whether they are the ones that were made."""

from __future__ import annotations

from pathlib import Path

from comfygen.errors import InboxError
from comfygen.mounts import is_other_mount

MARKER = ".comfygen-inbox"
PLACES = ("work", "done", "failed")
MARKER_TEXT = (
    "ComfyGen takes requests from this folder. While this file is missing, the folder is taken for unmounted.\n"
)


def make_places(folder: Path) -> int:
    """Create an inbox and its places; the device that it lies on. Raises InboxError when they cannot work together.

    A folder that has them all is not written to.
    """
    try:
        for place in (folder, *(folder / name for name in PLACES)):
            place.mkdir(parents=True, exist_ok=True)
        if not (folder / MARKER).exists():
            (folder / MARKER).write_text(MARKER_TEXT, encoding="utf-8")
        device = folder.stat().st_dev
    except OSError as exc:
        hint = "Requests are renamed within the inbox, so the service's user needs to write there."
        raise InboxError(f"The inbox {folder} cannot be used: {exc.strerror}.", hint=hint) from exc
    for place in (folder / name for name in PLACES):
        if is_other_mount(folder, place):
            hint = "Let work/, done/ and failed/ be plain folders inside the inbox."
            raise InboxError(f"Files cannot be renamed into {place}: it is another mount than its inbox.", hint=hint)
    return device


def is_there(folder: Path, device: int | None) -> bool:
    """Whether an inbox is what was prepared, or an honest new folder at the same place of the same file system.

    Without its marker and on another device it is a mount point whose disk is away.
    """
    if (folder / MARKER).exists():
        return True
    return folder.is_dir() and folder.stat().st_dev == device
