"""Saving: the output nodes; each writes real files into the folders and returns its entry of `outputs`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfygen.errors import ComfyGenError
from comfygen.images import MAX_PIXELS, Picture, animated_png, animated_webp, png_bytes, scale
from comfygen.simulator.folders import Folders, OutsideFolder, Place
from comfygen.simulator.painting import PAN, blend, flat, landscape, pan
from comfygen.simulator.values import Call, NodeFailed, Value, digest_of
from comfygen.videos import encode_gif, encode_mp4, encode_webm

Entry = dict[str, Any]  # what stands in `outputs` for a node


@dataclass(frozen=True, kw_only=True)
class Press:
    """What savers need beside their node: the folders, the texts that travel inside the files, a name for previews."""

    folders: Folders
    texts: Mapping[str, str]
    temp_name: str


def save(call: Call, press: Press) -> Entry:
    """Write what the output node `call` writes; raises NodeFailed as the real node would."""
    try:
        return SAVERS[call.name](call, press)
    except OutsideFolder as exc:
        raise NodeFailed("Exception", str(exc)) from exc
    except ComfyGenError as exc:
        raise NodeFailed("RuntimeError", exc.message) from exc
    except (OSError, ValueError) as exc:  # a name that the file system does not take
        raise NodeFailed(type(exc).__name__, str(exc)) from exc


def texts(graph: Mapping[str, Any], extra_data: Mapping[str, Any]) -> dict[str, str]:
    """The text chunks of a file: the posted graph, and whatever the client put into `extra_pnginfo`."""
    info = extra_data.get("extra_pnginfo")
    more = info if isinstance(info, dict) else {}
    return {"prompt": json.dumps(graph), **{str(key): json.dumps(value) for key, value in more.items()}}


def picture(value: Value, number: int = 0, *, width: int = 0) -> Picture:
    """The nth picture of a value, or a panorama of it `width` pixels wide."""
    size = (width or value.width, value.height)
    if not all(size):
        raise NodeFailed("ValueError", "there is no picture here")
    if size[0] * size[1] > MAX_PIXELS:
        raise NodeFailed("torch.OutOfMemoryError", f"{size[0]}x{size[1]} pixels are more than the simulator paints")
    if value.colour is not None and value.source is None:
        return flat(value.colour, *size)
    if value.source is not None and value.weight < 1 / 16:
        return scale(value.source, *size)
    painted = landscape(digest_of(value.digest, number), *size)
    return painted if value.source is None else blend(value.source, painted, value.weight)


def frames(value: Value) -> Iterator[bytes]:
    """All pictures of a value as frames of one shot: the camera travels over one panorama."""
    if value.colour is not None or value.count == 1:
        return iter([picture(value).rgb] * value.count)
    panorama = picture(value, width=value.width + round(value.width * PAN))
    return pan(panorama, value.width, value.count)


def _stills(value: Value) -> Iterator[bytes]:
    """The pictures of a value one by one: those of a batch differ, those of a video follow each other."""
    return frames(value) if value.frames > 1 else (picture(value, number).rgb for number in range(value.count))


def _written(place: Place, name: str, content: bytes) -> Entry:
    (place.folder / name).write_bytes(content)
    return {"filename": name, "subfolder": place.subfolder, "type": place.kind}


def _images(call: Call, press: Press, place: Place) -> Entry:
    value = call.value("images")
    entries = []
    for number, rgb in enumerate(_stills(value)):
        content = png_bytes(rgb, value.width, value.height, text=press.texts)
        entries.append(_written(place, place.file(number, ".png"), content))
    return {"images": entries}


def _save_image(call: Call, press: Press) -> Entry:
    value = call.value("images")
    return _images(call, press, press.folders.place(call.text("filename_prefix"), value.width, value.height))


def _preview_image(call: Call, press: Press) -> Entry:
    return _images(call, press, press.folders.place(press.temp_name, 0, 0, kind="temp"))


def _animated(call: Call, press: Press) -> Entry:
    """SaveAnimatedWEBP, SaveAnimatedPNG, SaveWEBM, SaveVideo: one file, under `images` like all others."""
    value = call.value("video" if call.name == "SaveVideo" else "images")
    fps = call.inputs.get("fps", value.fps or 8.0)
    suffix, write = ANIMATIONS[call.name]
    if call.inputs.get("codec") == "av1":
        write = _av1
    place = press.folders.place(call.text("filename_prefix"), value.width, value.height)
    entry = _written(place, place.file(0, suffix), write(value, frames(value), fps, press.texts))
    return {"images": [entry], "animated": [True]}


def _combine(call: Call, press: Press) -> Entry:
    """VHS_VideoCombine: its own key, its own names, and a PNG with the metadata beside the video."""
    value, format_, fps = call.value("images"), call.text("format"), float(call.inputs["frame_rate"])
    if format_ not in COMBINED:
        raise NodeFailed("NotImplementedError", f"The simulator writes no {format_}; it knows {', '.join(COMBINED)}.")
    suffix, write = COMBINED[format_]
    kind = "output" if call.inputs.get("save_output", True) else "temp"
    place = press.folders.place(call.text("filename_prefix"), value.width, value.height, kind=kind)
    shots = list(frames(value))
    shots += shots[-2:0:-1] if call.inputs.get("pingpong") else []
    first, name = place.file(0, ".png", mark=""), place.file(0, suffix, mark="")
    _written(place, first, png_bytes(shots[0], value.width, value.height, text=press.texts))
    entry = _written(place, name, write(value, iter(shots), fps, press.texts))
    path = "/".join(part for part in ("<base>", kind, place.subfolder, name) if part)
    return {"gifs": [entry | {"format": format_, "frame_rate": fps, "workflow": first, "fullpath": path}]}


def _save_latent(call: Call, press: Press) -> Entry:
    value = call.value("samples")
    place = press.folders.place(call.text("filename_prefix"), value.width, value.height)
    header = json.dumps({"__metadata__": {**press.texts, "digest": value.digest}}).encode()
    content = len(header).to_bytes(8, "little") + header
    return {"latents": [_written(place, place.file(0, ".latent"), content)]}


def _preview_any(call: Call, _: Press) -> Entry:
    value = call.inputs["source"]
    return {"text": [value.text or value.digest if isinstance(value, Value) else str(value)]}


Write = Callable[[Value, Iterator[bytes], float, Mapping[str, str]], bytes]


def _pictures(value: Value, shots: Iterable[bytes]) -> Iterator[Picture]:
    return (Picture(width=value.width, height=value.height, rgb=rgb) for rgb in shots)


def _mp4(value: Value, shots: Iterator[bytes], fps: float, text: Mapping[str, str]) -> bytes:
    return encode_mp4(shots, fps, width=value.width, height=value.height, metadata=text)


def _webm(value: Value, shots: Iterator[bytes], fps: float, text: Mapping[str, str]) -> bytes:
    return encode_webm(shots, fps, width=value.width, height=value.height, metadata=text)


def _av1(value: Value, shots: Iterator[bytes], fps: float, text: Mapping[str, str]) -> bytes:
    return encode_webm(shots, fps, width=value.width, height=value.height, codec="av1", metadata=text)


def _gif(value: Value, shots: Iterator[bytes], fps: float, _: Mapping[str, str]) -> bytes:
    return encode_gif(shots, fps, width=value.width, height=value.height)


def _webp(value: Value, shots: Iterator[bytes], fps: float, text: Mapping[str, str]) -> bytes:
    return animated_webp(_pictures(value, shots), fps, text=text)


def _apng(value: Value, shots: Iterator[bytes], fps: float, text: Mapping[str, str]) -> bytes:
    return animated_png(_pictures(value, shots), fps, text=text)


ANIMATIONS: dict[str, tuple[str, Write]] = {
    "SaveAnimatedWEBP": (".webp", _webp),
    "SaveAnimatedPNG": (".png", _apng),
    "SaveWEBM": (".webm", _webm),
    "SaveVideo": (".mp4", _mp4),
}
COMBINED: dict[str, tuple[str, Write]] = {
    "video/h264-mp4": (".mp4", _mp4),
    "video/webm": (".webm", _webm),
    "image/webp": (".webp", _webp),
    "image/gif": (".gif", _gif),
}
SAVERS: dict[str, Callable[[Call, Press], Entry]] = {
    **dict.fromkeys(ANIMATIONS, _animated),
    "SaveImage": _save_image,
    "PreviewImage": _preview_image,
    "SaveLatent": _save_latent,
    "PreviewAny": _preview_any,
    "VHS_VideoCombine": _combine,
}
