"""Workflows: files of ComfyUI graphs, what can be set in them, and the edits that set it (pure)."""

from __future__ import annotations

from comfygen.workflows.classes import NodeClasses, savers
from comfygen.workflows.edits import changes, no_place, with_filename_prefix, with_value
from comfygen.workflows.models import ModelSlot, model_slots, models_of, vae_of
from comfygen.workflows.places import Place, literal_at, write
from comfygen.workflows.roles import KEYS, Roles, Window, trace_roles
from comfygen.workflows.workflow import METADATA, Workflow, parse_workflow, strip

__all__ = [
    "KEYS",
    "METADATA",
    "ModelSlot",
    "NodeClasses",
    "Place",
    "Roles",
    "Window",
    "Workflow",
    "changes",
    "literal_at",
    "model_slots",
    "models_of",
    "no_place",
    "parse_workflow",
    "savers",
    "strip",
    "trace_roles",
    "vae_of",
    "with_filename_prefix",
    "with_value",
    "write",
]
