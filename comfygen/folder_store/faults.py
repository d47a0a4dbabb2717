"""What the operating system's errors mean for a store: the table that lets no OSError out."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from comfygen.errors import ComfyGenError, KeyInvalid, StoreDenied, StoreError, StoreFull, StoreUnavailable

MEANINGS: Mapping[int, type[ComfyGenError]] = MappingProxyType(
    {
        errno.ENOSPC: StoreFull,
        errno.EDQUOT: StoreFull,
        errno.EACCES: StoreDenied,
        errno.EPERM: StoreDenied,
        errno.EROFS: StoreDenied,
        errno.ENAMETOOLONG: KeyInvalid,
        errno.EFBIG: StoreError,
    }
)
HINTS: Mapping[int, str] = MappingProxyType(
    {
        errno.ENOSPC: "Free some space on its disk.",
        errno.EDQUOT: "Raise the quota, or free some space.",
        errno.EACCES: "The user that runs this needs the right to read and write there.",
        errno.EPERM: "The user that runs this needs the right to read and write there.",
        errno.EROFS: "Its disk is mounted read-only.",
        errno.ENAMETOOLONG: "Its file system takes shorter names only.",
        errno.EFBIG: "Its file system takes smaller files only.",
    }
)


def store_error(exc: OSError, what: str) -> ComfyGenError:
    """The error of ours that an OSError means; one that is not in the table is StoreUnavailable, to be tried again."""
    number = exc.errno or 0
    reason = os.strerror(number) if number else str(exc)
    return MEANINGS.get(number, StoreUnavailable)(f"{what}: {reason}.", hint=HINTS.get(number))


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Whatever the operating system says inside leaves as an error of ours; `what` says what was being done."""
    try:
        yield
    except OSError as exc:
        raise store_error(exc, what) from exc
