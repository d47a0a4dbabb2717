"""What is known of node classes without asking a server: their outputs, and which of them save something."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from comfygen.graph import Graph, as_link, class_of, consumers, inputs_of
from comfygen.lora import LOADERS

NodeClasses: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The answer of `GET /object_info`: class name -> its inputs, outputs and flags."""

_OUTPUTS: Final[Mapping[int, str]] = {
    1: """VAELoader UpscaleModelLoader ControlNetLoader CLIPVisionLoader LoraLoaderModelOnly CLIPTextEncode
        CLIPTextEncodeFlux CLIPTextEncodeSDXL CLIPTextEncodeSDXLRefiner CLIPTextEncodeSD3 CLIPSetLastLayer KSampler
        KSamplerAdvanced KSamplerSelect BasicScheduler RandomNoise DisableNoise BasicGuider CFGGuider FluxGuidance
        ConditioningCombine ConditioningConcat ConditioningAverage ConditioningZeroOut ConditioningSetArea
        ConditioningSetTimestepRange ControlNetApply ModelSamplingSD3 ModelSamplingFlux ModelMergeSimple
        CLIPMergeSimple VAEDecode VAEDecodeTiled VAEEncode VAEEncodeTiled VAEEncodeForInpaint EmptyLatentImage
        EmptySD3LatentImage EmptyHunyuanLatentVideo EmptyFlux2LatentImage EmptyImage LatentUpscale LatentUpscaleBy
        ImageUpscaleWithModel ImageScale ImageScaleBy LoadImageMask CreateVideo LoadVideo LoadLatent
        Wan22ImageToVideoLatent PrimitiveInt PrimitiveFloat PrimitiveString PrimitiveStringMultiline""",
    2: """LoraLoader SamplerCustom SamplerCustomAdvanced LoadImage LoadImageOutput ControlNetApplyAdvanced SplitSigmas
        SplitSigmasDenoise""",
    3: "WanImageToVideo WanFirstLastFrameToVideo WanFunControlToVideo InpaintModelConditioning",
    4: "WanVaceToVideo",
}
_KNOWN: Final[Mapping[str, int]] = {name: slots for slots, names in _OUTPUTS.items() for name in names.split()}
_SAVES: Final = re.compile(r"Save[A-Z0-9].*|\w*Save")
_PREVIEWS: Final = re.compile(r"Preview.*|\w+Preview|ImageCompare|LossGraphNode|SaveImageWebsocket")


def output_slots(name: str, classes: NodeClasses | None = None) -> int | None:
    """How many outputs a class has; None for a class that is not known."""
    if classes and name in classes:
        return len(classes[name].get("output", ()))
    return len(LOADERS[name]) if name in LOADERS else _KNOWN.get(name)


def input_type(name: str, field: str, classes: NodeClasses | None) -> str:
    """The type that an input of a class is declared with; empty where nothing is known."""
    groups = (classes or {}).get(name, {}).get("input", {})
    declared = next((group[field] for group in groups.values() if field in group), None)
    return declared[0] if declared and isinstance(declared[0], str) else ""


def is_preview(name: str) -> bool:
    """Whether a class shows something and keeps nothing."""
    return bool(_PREVIEWS.fullmatch(name))


def savers(graph: Graph, classes: NodeClasses | None = None) -> tuple[str, ...]:
    """The nodes that save what they are given, in the graph's own order.

    Saving classes are known by the server's word or by their names. In a graph without any, the nodes at its ends of
    which nothing at all is known are taken for savers.
    """
    found = tuple(node for node in graph if _saves(graph, node, classes))
    return found or _ends(graph, classes)


def _saves(graph: Graph, node: str, classes: NodeClasses | None) -> bool:
    name = class_of(graph, node)
    if _keeps_nothing(graph, node):
        return False
    if classes and name in classes:
        return bool(classes[name].get("output_node"))
    return bool(_SAVES.fullmatch(name)) or "filename_prefix" in inputs_of(graph, node)


def _keeps_nothing(graph: Graph, node: str) -> bool:
    """Whether a node only shows, or is told to write to the temporary folder."""
    return is_preview(class_of(graph, node)) or inputs_of(graph, node).get("save_output") is False


def _ends(graph: Graph, classes: NodeClasses | None) -> tuple[str, ...]:
    used = {consumer.source.node for consumer in consumers(graph)}
    return tuple(node for node in graph if node not in used and _is_strange(graph, node, classes))


def _is_strange(graph: Graph, node: str, classes: NodeClasses | None) -> bool:
    """Whether a node is fed by others and of a class that nothing is known of."""
    linked = any(as_link(value) for value in inputs_of(graph, node).values())
    return linked and output_slots(class_of(graph, node), classes) is None and not _keeps_nothing(graph, node)
