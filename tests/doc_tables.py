"""The tables of README and docs that are made from the code. `python -m tests.doc_tables` writes them anew."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from comfygen import errors
from comfygen.cli import VERBS, cli
from comfygen.cli.selftest.cases import CASES
from comfygen.config import DEFAULT_PLACES, Config
from comfygen.documents import one_document
from comfygen.index.queries import QUERIES
from comfygen.presets import Presets, parse_presets
from comfygen.request import KEYS, LORA_KEYS, Key
from comfygen.simulator.faults import KINDS
from comfygen.workflows import parse_workflow, trace_roles
from comfygend.__main__ import command as service
from comfygend.reloading import SAFE

ROOT: Final = Path(__file__).parents[1]
SAMPLES: Final = (ROOT / "docs/comfygen.example.yaml", ROOT / "docs/comfygen.bucket.example.yaml")
TABLE: Final = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def documents() -> list[Path]:
    """README, CHANGELOG and everything in docs/."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """A document with every table between its marks made anew."""
    return TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", text)


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: object) -> str:
    return str(cell).replace("|", "\\|").replace("\n", " ")


def _code(value: object) -> str:
    """A value as YAML people would write it in one line; nothing for an empty one."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if text else ""


def _keys(keys: Mapping[str, Key]) -> str:
    rows = ((_code(name), key.meaning, f"{key.allowed}.", _code(key.example)) for name, key in keys.items())
    return _table(("Key", "Meaning", "Allowed", "Example"), rows)


# -- configuration ----------------------------------------------------------------------------------------------------


def config_keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every key of the configuration: its dotted name, its meaning and its default as they are written."""
    places = dict(_leaves(DEFAULT_PLACES))
    for name, field in model.model_fields.items():
        inner = _inner(field.annotation)
        if inner is not None:
            listed = "[]" if get_origin(field.annotation) is tuple else ""
            yield from config_keys(inner, f"{prefix}{name}{listed}.")
        else:
            yield prefix + name, _meaning(field), _default(field, places.get(prefix + name))


def _inner(annotation: object) -> type[BaseModel] | None:
    found = [annotation, *get_args(annotation)]
    return next((each for each in found if isinstance(each, type) and issubclass(each, BaseModel)), None)


def sample_keys() -> dict[str, object]:
    """Every key that one of the sample configurations shows, with the first value it has there."""
    shown: dict[str, object] = {}
    for sample in SAMPLES:
        for key, value in _leaves(one_document(sample.read_bytes(), file=sample.name).value):
            shown.setdefault(key, value)
    return shown


def _leaves(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for part in value:
            yield from _leaves(part, f"{prefix}[]")
    else:
        yield prefix, value


def _config() -> str:
    shown = sample_keys()
    rows = [
        (_code(key), f"{_sentence(meaning)}{' †' if key in SAFE else ''}", default, _code(shown.get(key, "")))
        for key, meaning, default in config_keys()
    ]
    return _table(("Key", "Meaning", "Default", "Example"), rows)


def _meaning(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    one_of = f": {', '.join(map(_code, choices[:-1]))} or {_code(choices[-1])}" if choices else ""
    return f"{field.description}{one_of}"


def _default(field: FieldInfo, place: object) -> str:
    """The default as a file would say it; places of the working folder come with the whole configuration."""
    if place is not None:
        return _code(f"./{place}")
    return "" if field.is_required() or not field.default else _code(field.default)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".removesuffix(".") + "."


# -- commands ---------------------------------------------------------------------------------------------------------


def commands() -> dict[str, click.Command]:
    """Every command by the words that call it: `comfygen bucket setup`, `comfygend`."""
    found: dict[str, click.Command] = {"comfygend": service}
    context = click.Context(cli)
    for verb in sorted(VERBS):
        command = cli.get_command(context, verb)
        assert command is not None
        found |= _with_children(f"comfygen {verb}", command)
    return found


def _with_children(words: str, command: click.Command) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {words: command}
    return {
        name: each
        for child in sorted(command.commands)
        for name, each in _with_children(f"{words} {child}", command.commands[child]).items()
    }


def _commands() -> str:
    return "\n\n".join(_command(words, command) for words, command in commands().items())


def _command(words: str, command: click.Command) -> str:
    arguments = [f"<{each.human_readable_name.lower()}>" for each in command.params if isinstance(each, click.Argument)]
    usage = " ".join([words, "[options]", *arguments])
    options = [each for each in command.params if isinstance(each, click.Option)]
    rows = _table(("Option", "Meaning"), ((_option(each), _help(each)) for each in options))
    about = "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n"))
    return "\n\n".join([f"### {words}", f"`{usage}`", about, *([rows] if options else [])])


def _option(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.human_readable_name.upper()}"
    return _code(", ".join(option.opts) + value)


def _help(option: click.Option) -> str:
    said = [_sentence(option.help)] if option.help else []
    said += [f"One of {', '.join(option.type.choices)}."] if isinstance(option.type, click.Choice) else []
    shown = option.show_default and option.default is not None and not option.is_flag
    return " ".join([*said, *([f"Default: {option.default}."] if shown else [])])


# -- presets, workflows, queries, faults, errors ----------------------------------------------------------------------


def presets() -> Presets:
    """The presets that come with ComfyGen."""
    return parse_presets((ROOT / "presets.yaml").read_bytes(), file="presets.yaml")


def _presets() -> str:
    rows = ((_code(p.name), p.steps, p.cfg, p.sampler, p.scheduler, p.description) for p in presets().presets.values())
    return _table(("Preset", "steps", "cfg", "sampler", "scheduler", "For"), rows)


def _lora_presets() -> str:
    rows = (
        (_code(preset.name), ", ".join(_lora(vars(lora)) for lora in preset.loras), preset.description)
        for preset in presets().lora_presets.values()
    )
    return _table(("LoRA preset", "LoRAs", "For"), rows)


def _lora(lora: Mapping[str, Any]) -> str:
    branch = f" ({lora['branch']} branch)" if lora["branch"] else ""
    return _code(f"{lora['name']}:{lora['strength']:g}") + branch


def _workflows() -> str:
    rows = []
    for path in sorted((ROOT / "workflows").glob("*.json")):
        workflow = parse_workflow(path.read_bytes(), name=path.name)
        told = workflow.metadata
        takes = ", ".join(_code(key) for key in trace_roles(workflow.graph).takes)
        rows.append(
            (_code(path.name), f"{told['description']}.", told["output_resolution"], _code(told["model"]), takes)
        )
    return _table(("Workflow", "What it does", "Output", "Model", "Keys it takes"), rows)


def _queries() -> str:
    rows = (
        (_code(query.name), query.title, query.description, ", ".join(map(_code, query.parameters)))
        for query in QUERIES
    )
    return _table(("Query", "Title", "Answer", "Parameters"), rows)


def _faults() -> str:
    rows = ((_code(kind), _sentence(what), moment.value) for kind, (moment, what) in KINDS.items())
    return _table(("Kind", "What the simulator does", "When; what `match` looks at"), rows)


def _cases() -> str:
    rows = (
        (case.name, ", ".join(dict.fromkeys(_code(fault["kind"]) for fault in case.faults)), _sentence(case.promise))
        for case in CASES
    )
    return _table(("Case", "Fault", "What has to come of it"), rows)


def _errors() -> str:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ComfyGenError)
    ]
    codes = {kind.code: kind for kind in reversed(kinds) if "code" in vars(kind)}
    rows = (
        (_code(code), inspect.cleandoc(kind.__doc__ or ""), "yes" if kind.retryable else "no")
        for code, kind in sorted(codes.items())
    )
    return _table(("Code", "Meaning", "Tried again"), rows)


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "request-keys": lambda: _keys(KEYS),
    "lora-keys": lambda: _keys(LORA_KEYS),
    "config-keys": _config,
    "commands": _commands,
    "presets": _presets,
    "lora-presets": _lora_presets,
    "workflows": _workflows,
    "queries": _queries,
    "faults": _faults,
    "selftest-cases": _cases,
    "errors": _errors,
}


def main() -> None:
    """Write every table anew."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (fresh := filled(text)) != text:
            path.write_text(fresh, encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: tables written")


if __name__ == "__main__":
    main()
