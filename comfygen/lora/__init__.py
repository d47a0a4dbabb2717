"""LoRA chain injection and rewiring: which LoRAs a graph has, and the graph with more of them (pure)."""

from __future__ import annotations

from comfygen.lora.branches import Branch, branches, loras_of
from comfygen.lora.chain import inject
from comfygen.lora.sources import LOADERS, climb, is_lora, sources
from comfygen.lora.value import Lora

__all__ = ["LOADERS", "Branch", "Lora", "branches", "climb", "inject", "is_lora", "loras_of", "sources"]
