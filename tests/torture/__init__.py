"""Torture: the installed service under load, killed at random, with a ComfyUI and a store that misbehave.

``python -m tests.torture --n 1000 --seed 1 [--kind folder|bucket|mixed] [--services 1|2] [--comfyuis C]`` drops
requests at full speed while everything breaks, heals everything, waits until it is quiet, and counts what was lost,
doubled or is wrong.
``--soak MINUTES`` goes on for so long without killing the service, and looks at its memory and open files.
"""
