"""A ComfyUI stand-in that speaks the recorded protocol of 0.28.1: for the demo, for tests and for benchmarks."""

from __future__ import annotations

from comfygen.simulator.faults import KINDS, Fault
from comfygen.simulator.journal import Posted
from comfygen.simulator.server import Simulator

__all__ = ["KINDS", "Fault", "Posted", "Simulator"]
