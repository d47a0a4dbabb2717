"""Plan: exactly what will run: a request, its preset and its workflow as one graph, nothing random left."""

from __future__ import annotations

from comfygen.plan.making import make_plan
from comfygen.plan.value import InputImage, Plan

__all__ = ["InputImage", "Plan", "make_plan"]
