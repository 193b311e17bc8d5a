"""Fixtures of the tests of the cache format, which are built from ``tiny_cache.py``."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from losa.cache_format.codecs import CodecName
from losa.cache_format.stores import StoreName

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    # pytest's import mode importlib leaves this folder out of sys.path.
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module ``tiny_cache``."""
    return _load("tiny_cache")


@pytest.fixture(params=get_args(CodecName))
def codec(request: pytest.FixtureRequest) -> CodecName:
    """Every codec."""
    return request.param


@pytest.fixture
def store() -> StoreName:
    """The zarr store; files of tests of both stores override this fixture."""
    return "zarr"


@pytest.fixture
def recipe(tiny: ModuleType, store: StoreName) -> Any:
    """The int8 cache of seven training and four validation images in shards of three."""
    return tiny.Recipe(store=store)


@pytest.fixture(scope="session")
def _templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    written: dict[Any, Path] = {}

    def template(recipe: Any) -> Path:
        if recipe not in written:
            written[recipe] = recipe.write(tmp_path_factory.mktemp("template") / "cache")
        return written[recipe]

    return template


@pytest.fixture
def finished(_templates: Callable[[Any], Path], tmp_path: Path) -> Callable[..., Path]:
    """``finished(recipe, name)``: a finished cache that the test may damage."""

    def copy(recipe: Any, name: str = "cache") -> Path:
        return Path(shutil.copytree(_templates(recipe), tmp_path / name))

    return copy


@pytest.fixture
def start_python() -> Callable[..., subprocess.Popen[str]]:
    """``start_python(script, *arguments)``: a fresh interpreter that can import ``tiny_cache``."""

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def run_python(start_python: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """``run_python(script, *arguments)``: the output of a fresh interpreter, which must succeed."""

    def run(script: str, *arguments: object) -> str:
        process = start_python(script, *arguments)
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        return out

    return run


@pytest.fixture
def system_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[object, ...]]:
    """Recorded system calls in ``tmp_path``: mkdir, fsync (with the flushed size), rename and unlink."""
    calls: list[tuple[object, ...]] = []
    fsync, rename, unlink, mkdir = os.fsync, Path.replace, Path.unlink, Path.mkdir

    def name(value: object) -> object:
        return value.relative_to(tmp_path).as_posix() if isinstance(value, Path) else value

    def record(call: str, path: Path, *others: object) -> None:
        if path.is_relative_to(tmp_path):
            calls.append((call, *map(name, (path, *others))))

    def recording_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        record("fsync", path, "folder" if path.is_dir() else os.fstat(descriptor).st_size)
        fsync(descriptor)

    def recording_rename(self: Path, target: Path) -> Path:
        record("rename", self, Path(target))
        return rename(self, target)

    def recording_unlink(self: Path, missing_ok: bool = False) -> None:
        if self.exists():
            record("unlink", self)
        unlink(self, missing_ok=missing_ok)

    def recording_mkdir(self: Path, *args: Any, **kwargs: Any) -> None:
        record("mkdir", self)
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(Path, "replace", recording_rename)
    monkeypatch.setattr(Path, "unlink", recording_unlink)
    monkeypatch.setattr(Path, "mkdir", recording_mkdir)
    return calls
