"""Sidecars in every dialect: ours, the flat 13 keys, and the nested format of later versions of the first generator."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from comfygen.generation.fields import UINT64, Fields, SidecarUnreadable, spelled
from comfygen.generation.media import media_type_of
from comfygen.generation.row import SIDECAR_SUFFIX, Generation, GenerationLora

MAX_SIDECAR_BYTES: Final = 4 * 2**20
STAMP: Final = re.compile(r"(?:^|/)(\d{8}_\d{6})_[^/]*$")


def read_sidecar(key: str, body: bytes, *, etag: str = "", source: str = "") -> Generation:
    """The generation that a sidecar describes.

    `key` is the sidecar's own object key, `<output>.json`; the output's is understood as well. `etag` and `source`
    (the store's name) are written into the row as they are. Raises SidecarUnreadable with the reason.
    """
    root = Fields(_loaded(body))
    output = key.removesuffix(SIDECAR_SUFFIX)
    if not output:
        raise SidecarUnreadable("It belongs to no output: its key is nothing but .json.")
    kept = _nested(output, root) if _is_nested(root) else _flat(output, root)
    return Generation(**kept, key=output, source=source, sidecar_etag=etag)


def _loaded(body: bytes) -> dict[str, object]:
    if len(body) > MAX_SIDECAR_BYTES:
        raise SidecarUnreadable(f"It has {len(body)} bytes, more than the {MAX_SIDECAR_BYTES} that a sidecar may have.")
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError as exc:
        raise SidecarUnreadable(f"It is not UTF-8: {exc.reason} at byte {exc.start}.") from exc
    except (ValueError, RecursionError) as exc:
        raise SidecarUnreadable(f"It is no JSON: {exc}.") from exc
    if not isinstance(value, dict):
        raise SidecarUnreadable("It is JSON, but no object.")
    return value


def _refuse(constant: str) -> NoReturn:
    raise SidecarUnreadable(f"It holds {constant}, which is no JSON.")


def _is_nested(root: Fields) -> bool:
    return "prompt" not in root.values and isinstance(root.values.get("input"), dict)


def _flat(output: str, root: Fields) -> dict[str, Any]:
    """Our own sidecars, and the 13 keys that they are a superset of."""
    batch, timings = root.part("batch"), root.part("timings")
    moments = ("queued_at", "submitted_at", "started_at", "finished_at", "generated_at")
    texts = (
        *("workflow", "preset", "sampler", "scheduler", "minio_url", "vae", "project", "id", "request", "job"),
        *("output_node", "sha256", "graph_sha256", "backend", "comfyui_version", "comfygen_version"),
    )
    return {
        **_common(output, root, root, root),
        **{name: root.text(name) for name in texts},
        **{name: root.integer(name) for name in ("width", "height", "frames", "bytes", "attempts")},
        **{name: root.number(name) for name in ("fps", "denoise", "validation_score")},
        **{name: timings.moment(name) for name in moments},
        "run_seconds": timings.number("run_seconds"),
        "models": root.texts("models"),
        "tags": root.texts("tags"),
        "loras": _loras(root, "lora_details") or _loras(root, "loras"),
        "input_image": _input_image(root),
        "batch_index": batch.integer("index"),
        "batch_of": batch.integer("of"),
        "image_index": batch.integer("image"),
        "media_type": root.text("media_type") or media_type_of(output),
        "simulated": root.flag("simulated"),
    }


def _nested(output: str, root: Fields) -> dict[str, Any]:
    """The nested format: the same facts, grouped."""
    asked, workflow, parameters = root.part("input"), root.part("workflow"), root.part("parameters")
    kept, group, model = root.part("storage"), root.part("organization"), workflow.text("model")
    width, height = _resolution(parameters)
    return {
        **_common(output, root, asked, parameters),
        **{name: parameters.text(name) for name in ("sampler", "scheduler")},
        "preset": asked.text("preset"),
        "workflow": workflow.text("name"),
        "models": (model,) if model else (),
        "vae": workflow.text("vae"),
        "width": width,
        "height": height,
        "loras": _loras(parameters, "loras"),
        "validation_score": root.part("quality").part("prompt_adherence").number("clip"),
        "minio_url": kept.text("minio_url"),
        "bytes": kept.integer("file_size_bytes"),
        "run_seconds": kept.number("generation_time_seconds"),
        "media_type": media_type_of(output),
        "attempts": root.part("refinement").integer("attempt"),
        "project": group.text("project"),
        "request": group.text("batch_id"),
        "tags": group.texts("tags"),
        "id": root.text("generation_id"),
    }


def _common(output: str, root: Fields, asked: Fields, parameters: Fields) -> dict[str, Any]:
    prompt = asked.text("prompt")
    if prompt is None:
        raise SidecarUnreadable("It has no prompt: it describes no generation.")
    return {
        "timestamp": root.moment("timestamp") or _stamped(output),
        "prompt": prompt,
        "negative_prompt": asked.text("negative_prompt") or "",
        "seed": parameters.integer("seed", high=UINT64),
        "steps": parameters.integer("steps"),
        "cfg": parameters.number("cfg"),
    }


def _stamped(output: str) -> str:
    """The time that the key of an output begins with, for a sidecar that tells none."""
    try:
        found = STAMP.search(output)
        return spelled(datetime.strptime(found[1] if found else "", "%Y%m%d_%H%M%S").replace(tzinfo=UTC))
    except ValueError as exc:
        raise SidecarUnreadable("It has no timestamp, and neither has its key.") from exc


def _resolution(parameters: Fields) -> tuple[int | None, int | None]:
    sides = parameters.items("resolution")
    if not sides:
        return None, None
    if len(sides) != 2:
        raise parameters.wrong("resolution", "a list of width and height")
    pair = Fields({"width": sides[0], "height": sides[1]}, "parameters.resolution.")
    return pair.integer("width"), pair.integer("height")


def _loras(root: Fields, name: str) -> tuple[GenerationLora, ...]:
    return tuple(_lora(position, part) for position, part in enumerate(root.parts(name)))


def _lora(position: int, part: Fields) -> GenerationLora:
    name, strength = part.text("name"), part.number("strength")
    if not name or strength is None:
        raise SidecarUnreadable(f"{part.place}name and strength are needed.")
    clip, branch = part.number("strength_clip"), part.text("branch")
    return GenerationLora(position=position, name=name, strength=strength, strength_clip=clip, branch=branch)


def _input_image(root: Fields) -> str | None:
    part = root.part("input_image")
    if not part.values:
        return None
    texts = {name: part.text(name) for name in ("source", "name", "sha256")}
    sides = {name: part.integer(name) for name in ("width", "height")}
    return json.dumps(texts | sides, ensure_ascii=False, separators=(",", ":"))
