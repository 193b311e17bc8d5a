"""What CONTRIBUTING.md says of the code is true."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGES = ("cache_format", "extract", "adapt", "pipelines")
WRITTEN_BY_COMMANDS = {"dist", "build", "caches", "demo", "runs", "outputs", "multirun", "site"}


def table(heading: str) -> dict[str, list[str]]:
    """The table below a heading: the first cell of each row, without backquotes and slash, and the others."""
    section = re.split(rf"^## {heading}$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {first.strip(" `/"): [cell.strip() for cell in others] for first, *others in lines[2:]}


def listed(cell: str) -> set[str]:
    """Files and folders that a cell names."""
    return {name.rstrip("/") for name in re.findall(r"`([^`]+)`", cell)}


def imports(file: Path) -> Iterator[Path]:
    """Modules and packages of losa that a file imports, as paths relative to the root."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            path = Path(*name.split(".")[1:])
            if name.startswith("losa.") and (ROOT / path).is_dir():
                yield path
            elif name.startswith("losa.") and (ROOT / path).with_suffix(".py").exists():
                yield path.with_suffix(".py")


ROOMS = table("Rooms")


def room_of(path: Path) -> str:
    """The innermost room that a path is in; a file beside the rooms is one of its own."""
    inside = [room for room in ROOMS if path.is_relative_to(room)]
    return max(inside, key=len, default=path.as_posix())


def neighbours(room: str) -> set[str]:
    """What the files of a room import from their package outside of the room."""
    package = room.split("/")[0]
    files = [file for file in (ROOT / room).rglob("*.py") if room_of(file.relative_to(ROOT)) == room]
    found = {room_of(path) for file in files for path in imports(file) if path.parts[0] == package}
    return {name.removeprefix(f"{package}/") for name in found - {room, package}}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_each_other_as_listed(package: str) -> None:
    found = {path.parts[0] for file in (ROOT / package).rglob("*.py") for path in imports(file)}
    assert found - {package} == listed(table("The map")[package][1])


def test_every_folder_is_on_the_map() -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert table("The map").keys() - {".src/hydra_plugins"} == folders - WRITTEN_BY_COMMANDS


def test_every_room_is_listed() -> None:
    inits = [init for package in PACKAGES for init in (ROOT / package).rglob("*/__init__.py")]
    folders = {init.parent.relative_to(ROOT).as_posix() for init in inits}
    assert ROOMS.keys() == folders - set(PACKAGES)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_each_other_as_listed(room: str) -> None:
    assert neighbours(room) == listed(ROOMS[room][1])


def outermost(path: Path) -> str:
    """The folder of its package that a path is in; a file beside the folders is one of its own."""
    return path.parts[1] if len(path.parts) > 1 else "__init__.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_there_is_no_circle(package: str) -> None:
    """Neither between files nor between the folders of a package."""
    files: dict[str, set[str]] = {}
    folders: dict[str, set[str]] = {}
    for file in (ROOT / package).rglob("*.py"):
        path = file.relative_to(ROOT)
        if path.name == "__init__.py":
            continue
        found = {other for other in imports(file) if other.parts[0] == package}
        files[path.as_posix()] = {other.as_posix() for other in found}
        folders.setdefault(outermost(path), set()).update(map(outermost, found))
    for graph in (files, folders):
        done: set[str] = set()
        while ready := {node for node in graph if (graph[node] & graph.keys()) - {node} <= done} - done:
            done |= ready
        assert done == graph.keys()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w.]+/[\w./]*)`", PAGE))))
def test_paths_lead_somewhere(path: str) -> None:
    names = [path, *(f"{package}/{path}" for package in PACKAGES)]
    assert any((ROOT / name).exists() for name in names)


def test_the_markers_are_explained() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for marker in options["tool"]["pytest"]["ini_options"]["markers"]:
        assert f"`{marker.split(':')[0]}`" in PAGE
