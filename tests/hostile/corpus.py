"""The corpus: every hostile file with its name; and the odd things that are no plain files."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.fuzz import damaged, drawn
from tests.hostile.texts import BASE, texts

DAMAGED, DRAWN, SEED = 120, 60, 5
SPARSE_BYTES = 2 << 30
NAMES = (
    b"caf\xe9.yaml",
    b"\x1b[31mred\x1b[0m.yaml",
    b"two\nlines.yaml",
    b"-rf.yaml",
    b"$(id).yaml",
    b"%2e%2e%2fup.yaml",
    b"a\\..\\up.yaml",
    "\u202elmay.yaml".encode(),
    b"x" * 250 + b".yaml",
    "é".encode() * 124 + b".yml",
    b" .yaml",
    b"UPPER.YAML",
    b"CON.yaml",
)


def corpus() -> dict[bytes, bytes]:
    """File names and contents. Each has to end with a report, whichever."""
    bodies = [*texts(), *damaged(DAMAGED, SEED), *drawn(DRAWN)]
    suffixes = (b".yaml", b".yml", b".json")
    found = {b"%04d%s" % (n, suffixes[n % 3]): body for n, body in enumerate(bodies)}
    return found | dict.fromkeys(NAMES, b"workflow: flux-dev\nstepz: 3\n")


def odd_things(inbox: Path, decoy: Path) -> list[str]:
    """Put things into the inbox that are no plain files; the names under which they have to be reported."""
    (inbox / "link.yaml").symlink_to(decoy / "secret.yaml")
    (inbox / "dangling.yaml").symlink_to(decoy / "nothing")
    (inbox / "loop.yaml").symlink_to(inbox / "loop.yaml")
    (inbox / "hard.yaml").hardlink_to(decoy / "secret.yaml")
    (inbox / "folder.yaml").mkdir()
    os.mkfifo(inbox / "pipe.yaml")
    with (inbox / "sparse.yaml").open("wb") as file:
        file.truncate(SPARSE_BYTES)
    with socket.socket(socket.AF_UNIX) as door:
        place = os.open(inbox, os.O_RDONLY | os.O_DIRECTORY)
        door.bind(f"/proc/self/fd/{place}/door.yaml")
        os.close(place)
    names = ["link", "dangling", "loop", "hard", "folder", "pipe", "sparse", "door"]
    if os.geteuid() == 0:
        os.mknod(inbox / "device.yaml", 0o020600, os.makedev(1, 5))
        names.append("device")
    return [f"{name}.yaml" for name in names]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


BOMB = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0))
BOMB += _chunk(b"IDAT", zlib.compress(bytes(50_000 * 4 * 20))) + _chunk(b"IEND", b"")
PICTURES = {
    "bomb.png": BOMB,
    "words.png": b"no picture at all\n",
    "empty.png": b"",
    "cut.png": BOMB[:60],
    "wrong.jpg": b"\xff\xd8\xff\xe0" + bytes(40),
    "picture.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
}


def picture_requests() -> Iterator[tuple[str, bytes]]:
    """Requests that start from such pictures, from a link out of the inbox, and from a pipe."""
    for name in (*PICTURES, "link.png", "pipe.png", "folder.yaml"):
        body = BASE.replace("flux-dev", "sd15-img2img").replace("width: 64\nheight: 64\n", "")
        yield f"from-{name}.yaml", f"{body}input_image: {name}\n".encode()
