"""Nodes: one small function per family of node classes, from a Call to the Values it returns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

from comfygen.images import ImageUnusable, decode
from comfygen.simulator.folders import Folders
from comfygen.simulator.values import Call, NodeFailed, Value, digest_of

Outputs = tuple[Value, ...]
Simulated = Callable[[Call, Folders], Outputs]

SAMPLERS = {"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"}
READERS = {"LoadImage", "LoadImageMask", "LoadImageOutput"}
BROKEN = {
    "corrupt": "Error while deserializing header: invalid JSON in header: expected ident at line 1 column 2",
    "truncated": "Error while deserializing header: incomplete metadata, file not fully covered",
}
MISFITS = {"unknown_keys.safetensors", "wrong_shape.safetensors"}  # load, change nothing, and nobody is told
PICTURES_ONLY = ("v1-5", "sd_xl", "dreamshaper")
START_WEIGHT = 0.375  # how much landscape an image-to-video model lays over its first frame


def run(call: Call, folders: Folders) -> Outputs:
    """What a node returns; raises NodeFailed as the real node would."""
    return CLASSES.get(call.name, _mixed)(call, folders)


def steps_of(call: Call) -> int:
    """How many steps a sampler node takes; its progress goes from 1 to this."""
    sigmas = call.inputs.get("sigmas")
    if isinstance(sigmas, Value):
        return max(1, sigmas.steps)
    steps = call.number("steps", 20)
    first, last = call.number("start_at_step"), min(steps, call.number("end_at_step", steps))
    return max(1, last - first)


def is_changed(name: str, inputs: dict[str, object], folders: Folders) -> str:
    """The hash of the file a reader node would read: the same name with other bytes runs again."""
    if name not in READERS:
        return ""
    path = folders.annotated(str(inputs.get("image")))
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else ""


def _outputs(call: Call, value: Value) -> Outputs:
    """The same value in every slot, each with a digest of its own."""
    if len(call.returns) < 2:
        return (value,)
    return tuple(replace(value, digest=digest_of(value.digest, slot)) for slot in range(len(call.returns)))


def _mixed(call: Call, _: Folders) -> Outputs:
    """Any node without a rule of its own: its outputs depend on all its inputs and keep their size."""
    linked = [value for value in call.inputs.values() if isinstance(value, Value)]
    sized = next((value for value in linked if value.width), Value(digest=""))
    family = next((value.family for value in linked if value.family), "")
    return _outputs(call, replace(sized, digest=call.digest(), family=family))


def _loader(call: Call, _: Folders) -> Outputs:
    names = [str(value) for value in call.inputs.values()]
    for name in names:
        _check_file(name)
    model = PurePosixPath(names[0]).name if names else ""
    family = "wan" if "wan" in model.lower() else "pictures" if model.startswith(PICTURES_ONLY) else ""
    return _outputs(call, Value(digest=call.digest(), family=family))


def _check_file(name: str) -> None:
    for start, message in BROKEN.items():
        if PurePosixPath(name).name.startswith(start):
            raise NodeFailed("safetensors._safetensors_rust.SafetensorError", message)


def _lora(call: Call, _: Folders) -> Outputs:
    """A LoRA changes model and CLIP, unless its strength is 0 or it does not fit."""
    name, model = call.text("lora_name"), call.value("model")
    clip = [call.value("clip")] if "clip" in call.inputs else []
    _check_file(name)
    stray = "wan" in name.lower() and model.family == "pictures"
    strengths = (call.inputs.get("strength_model"), call.inputs.get("strength_clip"))
    sources = [model, *clip]
    if stray or name in MISFITS:
        return tuple(sources)
    return tuple(
        source if not strength else replace(source, digest=digest_of(source.digest, name, strength))
        for source, strength in zip(sources, strengths, strict=False)
    )


def _text(call: Call, _: Folders) -> Outputs:
    return (Value(digest=call.digest(), text=call.text("text")),)


def _empty_latent(call: Call, _: Folders) -> Outputs:
    length = call.number("length", 1)
    frames, batch = (length - 1) // 4 * 4 + 1, call.number("batch_size", 1)
    width, height = _grid(call.number("width")), _grid(call.number("height"))
    kind = "video" if "length" in call.inputs else ""
    return (Value(digest=call.digest(), width=width, height=height, count=frames * batch, frames=frames, family=kind),)


def _grid(pixels: int) -> int:
    return max(8, pixels // 8 * 8)


def _empty_image(call: Call, _: Folders) -> Outputs:
    value = Value(digest=call.digest(), width=call.number("width"), height=call.number("height"))
    return (replace(value, count=call.number("batch_size", 1), colour=call.number("color")),)


def _read_image(call: Call, folders: Folders) -> Outputs:
    name = call.text("image")
    path = folders.annotated(name)
    if path is None:
        raise NodeFailed("FileNotFoundError", f"[Errno 2] No such file or directory: '<base>/input/{name}'")
    try:
        content = path.read_bytes()
        picture = decode(content)
    except ImageUnusable as exc:
        kind, said = "PIL.UnidentifiedImageError", f"cannot identify image file '<base>/input/{name}'"
        raise NodeFailed(kind, said) from exc
    digest = hashlib.sha256(content).hexdigest()
    value = Value(digest=digest, width=picture.width, height=picture.height, source=picture, weight=0.0)
    return _outputs(call, value)


def _encode(call: Call, _: Folders) -> Outputs:
    pixels = call.value("pixels")
    return (replace(pixels, digest=call.digest(), width=_grid(pixels.width), height=_grid(pixels.height)),)


def _decode(call: Call, _: Folders) -> Outputs:
    return (replace(call.value("samples"), digest=call.digest(), family=""),)


def _sample(call: Call, _: Folders) -> Outputs:
    latent = call.value("latent_image")
    model = call.maybe("model") or call.maybe("guider")
    if model is not None and model.family == "pictures" and latent.family == "video":
        size = f"[2, 4, {(latent.frames - 1) // 4 + 1}, {latent.height // 8}, {latent.width // 8}]"
        said = f"Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: {size}"
        raise NodeFailed("RuntimeError", said)
    weight = latent.weight + (1 - latent.weight) * _strength(call, latent)
    return _outputs(call, replace(latent, digest=call.digest(), weight=weight, colour=None))


def _strength(call: Call, latent: Value) -> float:
    """How much of what was there a sampler paints over: all of it, unless it starts late or from a video's latent."""
    if latent.family == "video":
        return 0.0  # the stages of a video share one picture: what shines through was settled by its latent
    if "start_at_step" in call.inputs:
        return 1 - min(1.0, call.number("start_at_step") / max(1, call.number("steps", 1)))
    denoise = call.inputs.get("denoise", 1.0)
    return denoise if isinstance(denoise, float) else 1.0


def _schedule(call: Call, _: Folders) -> Outputs:
    return (Value(digest=call.digest(), steps=call.number("steps", 20)),)


def _sized(call: Call, _: Folders) -> Outputs:
    latent = call.returns[0] == "LATENT"
    source = call.value("samples" if latent else "image")
    factor = call.inputs.get("scale_by", 4.0 if call.name == "ImageUpscaleWithModel" else 1.0)
    scaled = factor if isinstance(factor, float) else 1.0
    width, height = (round(call.number(side, getattr(source, side)) * scaled) for side in ("width", "height"))
    if latent:
        width, height = _grid(width), _grid(height)
    return (replace(source, digest=call.digest(), width=width, height=height),)


def _video_latent(call: Call, folders: Folders) -> Outputs:
    """WanImageToVideo and its kin: conditioning passes through, the latent starts from the given picture."""
    latent = _empty_latent(call, folders)[0]
    start = call.maybe("start_image") or call.maybe("reference_image")
    if start is not None and start.source is not None:
        latent = replace(latent, source=start.source, weight=START_WEIGHT)
    latent = replace(latent, family="video")
    return tuple(
        latent if kind == "LATENT" else Value(digest=digest_of(latent.digest, slot))
        for slot, kind in enumerate(call.returns)
    )


def _create_video(call: Call, _: Folders) -> Outputs:
    fps = call.inputs["fps"]
    return (replace(call.value("images"), digest=call.digest(), fps=fps if isinstance(fps, float) else 8.0),)


def _refused(call: Call, _: Folders) -> Outputs:
    raise NodeFailed("NotImplementedError", f"The simulator has no {call.name}.")


LOADERS = {
    "CheckpointLoaderSimple",
    "CheckpointLoader",
    "unCLIPCheckpointLoader",
    "UNETLoader",
    "CLIPLoader",
    "DualCLIPLoader",
    "TripleCLIPLoader",
    "VAELoader",
    "UpscaleModelLoader",
    "ControlNetLoader",
    "CLIPVisionLoader",
}
LATENTS = {"EmptyLatentImage", "EmptySD3LatentImage", "EmptyHunyuanLatentVideo", "EmptyFlux2LatentImage"}
WAN = {
    "WanImageToVideo",
    "WanFirstLastFrameToVideo",
    "Wan22ImageToVideoLatent",
    "WanVaceToVideo",
    "WanFunControlToVideo",
}
CLASSES: dict[str, Simulated] = {
    **dict.fromkeys(LOADERS, _loader),
    **dict.fromkeys(LATENTS, _empty_latent),
    **dict.fromkeys(WAN, _video_latent),
    **dict.fromkeys(SAMPLERS, _sample),
    **dict.fromkeys(("LoraLoader", "LoraLoaderModelOnly"), _lora),
    **dict.fromkeys(READERS, _read_image),
    **dict.fromkeys(("VAEDecode", "VAEDecodeTiled"), _decode),
    **dict.fromkeys(("ImageScale", "LatentUpscale", "LatentUpscaleBy", "ImageUpscaleWithModel"), _sized),
    **dict.fromkeys(("LoadVideo", "LoadLatent"), _refused),
    "CLIPTextEncode": _text,
    "EmptyImage": _empty_image,
    "VAEEncode": _encode,
    "BasicScheduler": _schedule,
    "CreateVideo": _create_video,
}
