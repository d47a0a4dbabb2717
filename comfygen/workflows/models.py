"""The model files that a graph names: which loader, which input, which file."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from comfygen.graph import Graph, class_of, consumers, inputs_of

_SLOT: Final = re.compile(
    r"(?:\w+_)?(?:ckpt|unet|model|clip|vae|net|lora|gligen|hypernetwork|encoder)_(?:name|path)_?\d*|text_encoder"
)
_LOADER: Final = re.compile(r".*Load(er)?.*", re.IGNORECASE)
_MAIN: Final = ("ckpt_name", "unet_name")


class ModelSlot(NamedTuple):
    """An input of a loader that names a model file."""

    node: str
    input: str
    file: str


def model_slots(graph: Graph) -> tuple[ModelSlot, ...]:
    """Every input of a loader that names a model file, LoRAs included, in the graph's own order."""
    return tuple(
        ModelSlot(node, name, value)
        for node in graph
        if _LOADER.fullmatch(class_of(graph, node))
        for name, value in inputs_of(graph, node).items()
        if isinstance(value, str) and _SLOT.fullmatch(name)
    )


def models_of(graph: Graph) -> tuple[str, ...]:
    """The model files of a graph, the diffusion models first; without LoRAs (`loras_of`) and VAEs (`vae_of`)."""
    slots = [slot for slot in model_slots(graph) if not slot.input.startswith(("lora_", "vae_"))]
    return tuple(dict.fromkeys(slot.file for slot in sorted(slots, key=lambda slot: slot.input not in _MAIN)))


def vae_of(graph: Graph) -> str | None:
    """The VAE file that the outputs are decoded with; None if it is the checkpoint's own."""
    users = [consumer for consumer in consumers(graph) if consumer.input == "vae"]
    decoders = [user for user in users if "Decode" in class_of(graph, user.node)] or users
    names = [inputs_of(graph, user.source.node).get("vae_name") for user in decoders]
    return next((name for name in names if isinstance(name, str)), None)
