"""How a node, a choice and a near miss are named to people: one wording for preflight and refusals."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

SHOWN = 6
LONGEST = 120
ENDING = re.compile(r"\.(safetensors|sft|ckpt|pth?|pt2|bin|pkl|gguf|onnx)$")

# Inputs that name a model file, by what people call the file; `*` stands for any ending.
SLOTS = {
    "lora_name": "LoRA",
    "ckpt_name": "Checkpoint",
    "unet_name": "Diffusion model",
    "vae_name": "VAE",
    "clip_name*": "Text encoder",
    "control_net_name": "ControlNet",
    "style_model_name": "Style model",
    "model_name": "Model",
}


def place(node: str, class_type: str) -> str:
    """A node as messages name it."""
    return f"node {node} ({class_type or 'unknown class'})"


def shown(value: object) -> str:
    """A value as messages show it: a literal, cut, for it can be a whole prompt text."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def slot(input_name: str) -> str | None:
    """What kind of model file an input names, or None when it names none."""
    stem = input_name.rstrip("0123456789")
    return SLOTS.get(input_name) or SLOTS.get(f"{stem}*")


def some(options: Sequence[str]) -> str:
    """The first few of the options, and how many there are."""
    if not options:
        return "nothing is installed"
    shown = ", ".join(options[:SHOWN])
    return shown if len(options) <= SHOWN else f"{shown}, … ({len(options)} in all)"


def suggestion(value: object, options: Sequence[str]) -> str | None:
    """ "Did you mean …?", or None when nothing is near."""
    near = nearest(value, options) if isinstance(value, str) else None
    return f"Did you mean {near!r}?" if near is not None else None


def nearest(value: str, options: Sequence[str]) -> str | None:
    """The option that was probably meant: other separators or case, another folder, no ending, a slip of the pen."""
    for alike in (_plain, _file, _stem):
        for option in options:
            if alike(option) == alike(value):
                return option
    by_stem = {_stem(option): option for option in reversed(options)}
    close = difflib.get_close_matches(_stem(value), by_stem, n=1)
    return by_stem[close[0]] if close else None


def _plain(name: str) -> str:
    return name.replace("\\", "/").casefold()


def _file(name: str) -> str:
    return PurePosixPath(_plain(name)).name


def _stem(name: str) -> str:
    return ENDING.sub("", _file(name))


def not_offered(input_name: str, value: object) -> str:
    """That a value is none of the choices; for a model file, that it is not installed."""
    kind = slot(input_name)
    return f"{kind} {shown(value)} is not installed on this ComfyUI" if kind else f"{shown(value)} is not offered"
