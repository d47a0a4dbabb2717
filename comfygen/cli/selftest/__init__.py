"""`comfygen selftest`: whether this installation on this machine keeps its promises when things break."""

from __future__ import annotations

from comfygen.cli.selftest.command import command

__all__ = ["command"]
