"""`python -m comfygen` is `comfygen`."""

from __future__ import annotations

from comfygen.cli import main

main()
