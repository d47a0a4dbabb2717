"""Library: the workflows and presets that requests name, found in a checkout, a wheel or the configured places."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from comfygen.errors import ConfigInvalid, InvalidInput, NotFound
from comfygen.presets import Presets, parse_presets
from comfygen.workflows import Workflow, parse_workflow

log = logging.getLogger(__name__)
PACKAGE = Path(__file__).parent
T = TypeVar("T")
BUILT_IN_NAMES = {"workflows", "presets.yaml"}


def built_in(name: str) -> Path:
    """A file or folder that comes with ComfyGen: beside the package in a checkout, inside it in a wheel."""
    installed = PACKAGE / "_resources" / name
    return installed if installed.exists() else PACKAGE.parent / name


def place(configured: Path | None, name: str) -> Path:
    """Where `workflows` or `presets.yaml` are: the configured place, or the built-in one.

    A configured place that does not exist is an error, unless it has the very name of the built-in one
    (the sample configuration says `./workflows`, and there need be no such folder).
    """
    if configured is None:
        return built_in(name)
    if configured.exists():
        return configured
    if configured.name in BUILT_IN_NAMES:
        log.info("%s does not exist: the built-in %s are used", configured, name)
        return built_in(name)
    raise ConfigInvalid(f"{configured} does not exist.", hint=f"Create it, or leave `{name.split('.')[0]}` out.")


def _keep_quiet(name: str, error: InvalidInput | None) -> None:
    """Nobody wants to know."""


class Library:
    """Workflows and presets by name. A file is read again when it has changed.

    One that has become broken keeps its last good version, and `tell` hears of it: by its name with the error, and
    with None when it is well again. One that was never good harms only who names it.
    """

    def __init__(
        self,
        workflows: Path | None = None,
        presets: Path | None = None,
        *,
        tell: Callable[[str, InvalidInput | None], None] = _keep_quiet,
    ) -> None:
        self._tell = tell
        self.folder = place(workflows, "workflows")
        self.presets_file = place(presets, "presets.yaml")
        self._workflows: dict[str, tuple[tuple[int, int], Workflow]] = {}
        self._presets: tuple[tuple[int, int], Presets] | None = None

    def names(self) -> list[str]:
        """The file names of all workflows."""
        return sorted(path.name for path in self.folder.glob("*.json") if not path.name.startswith("."))

    def workflow(self, name: str) -> Workflow:
        """A workflow by file name or stem. Raises NotFound with "did you mean", WorkflowInvalid, or ConfigInvalid."""
        names = self.names()
        wanted = name if name in names else f"{name}.json"
        if wanted not in names:
            close = difflib.get_close_matches(name, [n.removesuffix(".json") for n in names], 1, 0.5)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names) or 'none'}."
            raise NotFound(f"There is no workflow {name!r} in {self.folder}.", hint=hint, field="workflow")
        known = self._workflows.get(wanted)
        return self._or_last_good(partial(self._read_workflow, wanted), known and known[1], f"workflow {wanted}")

    def _read_workflow(self, name: str) -> Workflow:
        path = self.folder / name
        version = _version(path)
        if (known := self._workflows.get(name)) and known[0] == version:
            return known[1]
        workflow = parse_workflow(_read(path), name=name)
        self._workflows[name] = (version, workflow)
        return workflow

    def presets(self) -> Presets:
        """All presets. Raises PresetsInvalid, or ConfigInvalid when the file cannot be read."""
        return self._or_last_good(self._read_presets, self._presets and self._presets[1], "presets")

    def _read_presets(self) -> Presets:
        version = _version(self.presets_file)
        if self._presets is None or self._presets[0] != version:
            self._presets = version, parse_presets(_read(self.presets_file), file=str(self.presets_file))
        return self._presets[1]

    def _or_last_good(self, read: Callable[[], T], last: T | None, name: str) -> T:
        try:
            value = read()
        except InvalidInput as exc:
            if last is None:
                raise
            self._tell(name, exc)
            return last
        self._tell(name, None)
        return value

    def check(self) -> list[InvalidInput]:
        """Read all anew: what is wrong with the presets and with every workflow; empty when all is well."""
        reads: dict[str, Callable[[], object]] = {"presets": self._read_presets}
        reads |= {f"workflow {name}": partial(self._read_workflow, name) for name in self.names()}
        found: list[InvalidInput] = []
        for name, read in reads.items():
            try:
                read()
            except InvalidInput as exc:
                found.append(exc)
                if name.removeprefix("workflow ") in self._workflows or (name == "presets" and self._presets):
                    self._tell(name, exc)
            else:
                self._tell(name, None)
        return found


def _version(path: Path) -> tuple[int, int]:
    with _readable(path):
        status = path.stat()
    return status.st_mtime_ns, status.st_size


def _read(path: Path) -> bytes:
    with _readable(path):
        return path.read_bytes()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """A file that was there at the start may be gone, or unreadable, later: that harms only who names it."""
    try:
        yield
    except OSError as exc:
        raise ConfigInvalid(f"{path} cannot be read: {exc.strerror}.", hint="Put it back, or mend its rights.") from exc
