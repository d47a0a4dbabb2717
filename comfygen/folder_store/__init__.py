"""Store on a local folder: the embedded default. Its own notifications come from watching the folder."""

from __future__ import annotations

from comfygen.folder_store.adapter import FolderStore

__all__ = ["FolderStore"]
