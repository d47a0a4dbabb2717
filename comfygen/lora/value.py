"""A LoRA: a file that adapts a model, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA as it is asked for, or as it stands in a graph.

    `strength_clip` is None where there is no CLIP side or it equals `strength`. `branch` chooses one model branch of a
    graph that has several ("high", "low", or a loader's node id); None means every branch.
    """

    name: str
    strength: float = 1.0
    strength_clip: float | None = None
    branch: str | None = None
