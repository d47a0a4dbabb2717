"""`comfygen demo`: the main job on embedded defaults, from three dropped files to one SQL query."""

from __future__ import annotations

from comfygen.cli.demo.command import command

__all__ = ["command"]
