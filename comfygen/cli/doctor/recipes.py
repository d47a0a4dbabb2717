"""Workflows and presets: can they be read, and can some ComfyUI run them?"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comfygen.cli.doctor.finding import Finding, State, bad, warn, well
from comfygen.cli.doctor.site import Site
from comfygen.comfyui_client import ComfyUIClient, ObjectInfo
from comfygen.errors import ComfyGenError, ComfyUIError, InvalidInput, PreflightFailed
from comfygen.presets import Presets
from comfygen.resources import Library
from comfygen.workflows import Workflow

TIMEOUT = 5.0
INSTALL = "Put the files and custom nodes it needs into ComfyUI, or change the workflow."


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """What can be read of workflows and presets, and what was found about the rest."""

    findings: tuple[Finding, ...]
    workflows: tuple[Workflow, ...] = ()
    presets: Presets | None = None


def read(site: Site) -> Recipes:
    """Read them all."""
    try:
        library = Library(site.config.workflows, site.config.presets)
    except ComfyGenError as exc:
        return Recipes(findings=(bad("workflows and presets", exc.message, exc.hint or "Mend `workflows`."),))
    workflows, found = [], []
    for name in library.names():
        try:
            workflows.append(library.workflow(name))
        except InvalidInput as exc:
            found.append(bad(f"workflow {name}", exc.message, exc.hint or "Mend the file, or take it away."))
    if not library.names():
        remedy = 'Put graphs there (in ComfyUI: "Workflow > Export (API)"), or leave `workflows` out.'
        found.append(bad("workflows", f"There are none in {library.folder}.", remedy))
    elif workflows:
        found.append(well("workflows", f"{len(workflows)} in {library.folder}"))
    try:
        presets = library.presets()
    except InvalidInput as exc:
        found.append(bad("presets", exc.message, exc.hint or f"Mend {library.presets_file}."))
        return Recipes(findings=tuple(found), workflows=tuple(workflows))
    found.append(well("presets", f"{len(presets.presets)} presets, {len(presets.lora_presets)} sets of LoRAs"))
    return Recipes(findings=tuple(found), workflows=tuple(workflows), presets=presets)


async def comfyui(site: Site) -> list[Finding]:
    """Every ComfyUI, and whether one of them can run each workflow and has what the presets name."""
    recipes = read(site)
    found = list(recipes.findings)
    lacking: dict[str, list[str]] = {}
    reached = 0
    for backend in site.config.comfyui:
        check = f"ComfyUI {backend.url}"
        try:
            async with ComfyUIClient(backend.url, timeout=TIMEOUT) as client:
                server, offered = await client.server(), await client.object_info()
                for workflow in recipes.workflows:
                    if (reason := await _refusal(client, workflow)) is not None:
                        lacking.setdefault(workflow.name, []).append(reason)
        except ComfyUIError as exc:
            found.append(bad(check, exc.message, f"{exc.hint or ''} Jobs wait until it is there.".strip()))
            continue
        reached += 1
        simulated = "; it is simulated: its pictures are made up" if server.simulated else ""
        found.append(well(check, f"version {server.version}, {len(offered.classes)} node classes{simulated}"))
        found += _of_presets(check, recipes.presets, offered) if recipes.presets else []
    return found + _judged(site, recipes.workflows, lacking, reached)


async def _refusal(client: ComfyUIClient, workflow: Workflow) -> str | None:
    try:
        await client.preflight(workflow.graph)
    except PreflightFailed as exc:
        return "\n".join(map(str, exc.problems))
    return None


def _judged(site: Site, workflows: Sequence[Workflow], lacking: dict[str, list[str]], reached: int) -> list[Finding]:
    """A workflow of one's own that nobody can run is bad; one that came with ComfyGen is only not usable here."""
    state = State.WARN if site.config.workflows is None else State.BAD
    found = [
        Finding(check=f"workflow {name}", state=state, message=f"No ComfyUI can run it:\n{reasons[0]}", remedy=INSTALL)
        for name, reasons in lacking.items()
        if len(reasons) == reached
    ]
    runnable = [workflow.stem for workflow in workflows if len(lacking.get(workflow.name, ())) < reached]
    return [*found, *([well("runnable workflows", ", ".join(runnable))] if runnable else [])]


def _of_presets(check: str, presets: Presets, offered: ObjectInfo) -> Iterator[Finding]:
    loras = {lora.name: f"LoRA preset {name}" for name, made in presets.lora_presets.items() for lora in made.loras}
    samplers = {p.sampler: f"preset {name}" for name, p in presets.presets.items() if p.sampler}
    schedulers = {p.scheduler: f"preset {name}" for name, p in presets.presets.items() if p.scheduler}
    yield from _missing(check, "LoRA", loras, offered.options("LoraLoader", "lora_name"))
    yield from _missing(check, "sampler", samplers, offered.options("KSampler", "sampler_name"))
    yield from _missing(check, "scheduler", schedulers, offered.options("KSampler", "scheduler"))


def _missing(check: str, kind: str, wanted: dict[str, str], options: Sequence[str] | None) -> Iterator[Finding]:
    there = {option.replace("\\", "/") for option in options or ()}
    for name, user in wanted.items():
        if options is not None and name.replace("\\", "/") not in there:
            close = difflib.get_close_matches(name, options, 1, 0.5)
            remedy = f"Did you mean {close[0]!r}? " if close else ""
            message = f"It has no {kind} {name!r}, which the {user} names."
            yield warn(check, message, f"{remedy}Add it to ComfyUI, or change presets.yaml.")
