"""The house stays the house: who may import whom, which library belongs to whom, what the pure layers never touch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS: dict[str, float] = {
    "errors": 0,
    "graph": 0.5,
    "documents": 0.6,
    "lora": 0.6,
    "request": 1,
    "workflows": 1,
    "models": 1,
    "events": 1,
    "bucket_policy": 1,
    "presets": 1.5,
    "plan": 2,
    "store": 3,
    "images": 3,
    "videos": 3,
    "config": 3,
    "backup": 3,
    "mounts": 3,
    "sidecar": 3.5,
    "generation": 3.6,
    "comfyui_client": 4,
    "minio_client": 4,
    "folder_store": 4,
    "civitai_client": 4,
    "scoring": 4,
    "index": 4,
    "resources": 4,
    "pipeline": 5,
    "cli": 6,
    "tools": 6,
    "datasette": 6,
    "simulator": 6,
    "__main__": 6.5,
    "comfygend": 7,
}
SAME_LAYER = {("cli", "simulator"), ("cli", "datasette"), ("cli", "tools")}
OWNERS: dict[str, set[str]] = {
    "yaml": {"documents"},
    "PIL": {"images"},
    "av": {"videos"},
    "aiohttp": {
        "comfyui_client",
        "minio_client",
        "civitai_client",
        "simulator",
        "comfygend.http",
        "comfygend.fetching",
    },
    "aiobotocore": {"minio_client"},
    "botocore": {"minio_client"},
    "watchfiles": {"folder_store", "comfygend.inbox"},
    "sqlite_utils": {"index", "comfygend.ledger"},
    "datasette": {"datasette"},
    "rich": {"cli"},
    "click": {"cli", "comfygend.__main__"},
}
PURE_BELOW = 3
IMPURE = {"asyncio", "os", "time", "random", "secrets", "socket", "subprocess", "threading", "tempfile", "shutil"}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the project with its dotted name: `request.model`, `comfygend.inbox.folder`."""
    for top, prefix in ((ROOT / "comfygen", ""), (ROOT / "daemon" / "comfygend", "comfygend.")):
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            yield prefix + name, path


MODULES = [(name.rstrip("."), path) for name, path in modules() if name]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def own_imports(path: Path) -> set[str]:
    """The project's own top-level nouns that a file imports."""
    nouns = {name.split(".")[1] for name in imports(path) if name.startswith("comfygen.")}
    return (nouns & LAYERS.keys()) | (
        {"comfygend"} if any(n.split(".")[0] == "comfygend" for n in imports(path)) else set()
    )


def noun(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_every_module_has_a_place_and_imports_point_down(name: str, path: Path) -> None:
    """Arrows point down only, and siblings do not know each other."""
    assert noun(name) in LAYERS, f"{name} has no place in the layers"
    here = LAYERS[noun(name)]
    upwards = {
        other
        for other in own_imports(path)
        if other != noun(name) and LAYERS[other] >= here and (noun(name), other) not in SAME_LAYER
    }
    assert upwards == set()


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_a_library_belongs_to_its_owner(name: str, path: Path) -> None:
    """One third-party library, one module."""
    foreign = {
        library
        for library in {used.split(".")[0] for used in imports(path)} & OWNERS.keys()
        if not any(name == owner or name.startswith(f"{owner}.") for owner in OWNERS[library])
    }
    assert foreign == set()


@pytest.mark.parametrize(("name", "path"), [(n, p) for n, p in MODULES if LAYERS.get(noun(n), 9) < PURE_BELOW], ids=str)
def test_the_core_is_pure(name: str, path: Path) -> None:
    """Below layer 3 there is no async, no file access, no clock, no environment and no randomness."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    asyncs = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith)]
    opens = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "open"]
    clocks = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow"}]
    assert ([], [], [], set()) == (asyncs, opens, clocks, {used.split(".")[0] for used in imports(path)} & IMPURE)


@pytest.mark.parametrize(("name", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_nobody_swallows_a_cancellation(name: str, path: Path) -> None:
    """Before Python 3.12 `asyncio.wait_for` loses a cancellation that comes with the result."""
    assert "wait_for" not in {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "asyncio"
    }


def test_the_daemon_never_imports_the_command_line() -> None:
    """The service knows neither `comfygen.cli` nor `comfygen.tools`, `comfygen.datasette` or the simulator."""
    above = {"cli", "tools", "datasette", "simulator"}
    guilty = {name for name, path in MODULES if name.startswith("comfygend") and own_imports(path) & above}
    assert guilty == set()


def test_the_service_is_no_package_called_daemon() -> None:
    """A top-level package `daemon` would collide with python-daemon's."""
    assert not (ROOT / "daemon" / "__init__.py").exists()


@pytest.mark.parametrize("name", ["requests", "workflows", "systemd"])
def test_folders_of_data_are_no_packages(name: str) -> None:
    """`requests/` as a package would shadow the library of that name."""
    assert not (ROOT / name / "__init__.py").exists()
