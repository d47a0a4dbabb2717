"""The index (index.db): every generation as a row, searchable. Derived from the store: it may be deleted any time."""

from __future__ import annotations

from comfygen.index.database import Index, Known, Problem, Source
from comfygen.index.opening import IndexBusy, IndexCorrupt, IndexNewer

__all__ = ["Index", "IndexBusy", "IndexCorrupt", "IndexNewer", "Known", "Problem", "Source"]
