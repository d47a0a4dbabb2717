"""How a plan is made: explicit values before the preset's, these before the workflow's own, and then the LoRAs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from comfygen.errors import Problem, WorkflowInvalid
from comfygen.graph import Graph, graph_sha256
from comfygen.lora import Lora, inject, loras_of
from comfygen.plan.cautions import cautions
from comfygen.plan.value import InputImage, Plan
from comfygen.presets import Preset, Presets
from comfygen.request import Request
from comfygen.workflows import Place, Roles, Workflow, changes, models_of, trace_roles, vae_of, write

ASKED: Final = (
    *("prompt", "negative_prompt", "steps", "cfg", "sampler", "scheduler"),
    *("denoise", "width", "height", "frames", "fps"),
)
PROPOSED: Final = ("steps", "cfg", "sampler", "scheduler", "width", "height")


def make_plan(
    request: Request, *, workflow: Workflow, presets: Presets, seed: int, input_image: InputImage | None
) -> Plan:
    """The plan for one job of a request; the same arguments give the same plan.

    Raises WorkflowInvalid with everything that was asked for and has no place in the graph, or is missing for it, and
    NotFound for an unknown preset. What a preset proposes in vain is left out with a warning.
    """
    roles = trace_roles(workflow.graph)
    preset = presets.preset(request.preset) if request.preset else None
    loras = _loras(request, presets)
    asked = _asked(request, roles, seed, input_image)
    proposed = {key: value for key, value in _proposed(preset).items() if key not in asked}
    written, problems = _placed(workflow.graph, roles, asked)
    vain = [key for key in proposed if not roles.at(key)]
    more, unfit = _placed(workflow.graph, roles, {key: proposed[key] for key in proposed if key not in vain})
    graph, homeless = _with_loras(_edited(workflow.graph, {**more, **written}), loras)
    problems += [*unfit, *homeless, *_image_problems(request, roles, input_image)]
    if problems:
        raise WorkflowInvalid(f"{workflow.name} cannot do all that was asked for.", problems=problems)
    said = cautions(request, before=workflow.graph, after=graph, roles=roles, proposed=proposed, vain=vain)
    return _told(request, workflow, roles, graph, seed, input_image, tuple(said))


def _asked(request: Request, roles: Roles, seed: int, input_image: InputImage | None) -> dict[str, object]:
    """What was asked for by request key; a drawn seed only where the graph has a place for one."""
    asked = {key: value for key in ASKED if (value := getattr(request, key)) is not None}
    if request.seed is not None or roles.at("seed"):
        asked["seed"] = seed
    if input_image is not None and roles.at("input_image"):
        asked["input_image"] = input_image.name
    return asked


def _proposed(preset: Preset | None) -> dict[str, object]:
    return {key: value for key in PROPOSED if (value := getattr(preset, key, None)) is not None}


def _loras(request: Request, presets: Presets) -> tuple[Lora, ...]:
    """Those of the LoRA preset first, then the explicit ones, which replace those of the same name."""
    offered = presets.lora_preset(request.lora_preset).loras if request.lora_preset else ()
    names = {lora.name for lora in request.loras}
    return (*(lora for lora in offered if lora.name not in names), *request.loras)


def _placed(graph: Graph, roles: Roles, values: Mapping[str, object]) -> tuple[dict[Place, object], list[Problem]]:
    """What is written where, and what cannot be: without a place, or two values for one place."""
    written: dict[Place, object] = {}
    owners: dict[Place, str] = {}
    problems: list[Problem] = []
    for key, value in values.items():
        try:
            wanted = changes(graph, roles, key, value)
        except WorkflowInvalid as error:
            problems += error.problems
            continue
        clashes = {owners[place] for place in wanted if place in written and written[place] != wanted[place]}
        problems += [
            Problem(field=key, message=f"shares one place in this workflow with {other}, and they differ.")
            for other in sorted(clashes)
        ]
        written |= wanted
        owners |= dict.fromkeys(wanted, key)
    return written, problems


def _edited(graph: Graph, written: Mapping[Place, object]) -> Graph:
    for place, value in written.items():
        graph = write(graph, [place], value)
    return graph


def _with_loras(graph: Graph, loras: Iterable[Lora]) -> tuple[Graph, Iterable[Problem]]:
    try:
        return inject(graph, tuple(loras)), ()
    except WorkflowInvalid as error:
        return graph, error.problems


def _image_problems(request: Request, roles: Roles, input_image: InputImage | None) -> Iterable[Problem]:
    wanted = request.input_image is not None or input_image is not None
    if wanted and not roles.at("input_image"):
        yield Problem(field="input_image", message="has no place in this workflow: it loads no image.")
    if input_image is None and roles.at("input_image"):
        hint = "Add input_image with the path or URL of a picture."
        yield Problem(field="input_image", message="this workflow needs an input image.", hint=hint)


def _told(
    request: Request,
    workflow: Workflow,
    roles: Roles,
    graph: Graph,
    seed: int,
    input_image: InputImage | None,
    warnings: tuple[str, ...],
) -> Plan:
    """The plan of a finished graph, with all that can be read from it."""
    read = {key: roles.read(graph, key) for key in ASKED}
    return Plan(
        workflow=workflow.name,
        graph=graph,
        graph_sha256=graph_sha256(graph),
        prompt=request.prompt,
        negative_prompt=_text(read["negative_prompt"]) or "",
        seed=seed,
        steps=_integer(read["steps"]),
        cfg=_number(read["cfg"]),
        sampler=_text(read["sampler"]),
        scheduler=_text(read["scheduler"]),
        denoise=_number(read["denoise"]),
        width=_integer(read["width"]) or (input_image.width if input_image else None),
        height=_integer(read["height"]) or (input_image.height if input_image else None),
        frames=_integer(read["frames"]),
        fps=_number(read["fps"]),
        loras=loras_of(graph),
        preset=request.preset,
        models=models_of(graph),
        vae=vae_of(graph),
        input_image=input_image,
        output_nodes=roles.outputs,
        warnings=warnings,
    )


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
