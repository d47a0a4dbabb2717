"""`comfygen submit FILE…`: drop request files into whichever inbox is configured, and follow them."""

from __future__ import annotations

from comfygen.cli.submit.command import command

__all__ = ["command"]
