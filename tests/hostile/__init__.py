"""A hostile corpus: what people, programs and attackers drop into an inbox. The same files every time."""

from __future__ import annotations

from tests.hostile.corpus import BOMB, PICTURES, corpus

__all__ = ["BOMB", "PICTURES", "corpus"]
