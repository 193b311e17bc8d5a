"""The distribution as others get it."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from losa.adapt.kernels import kernels_told

ROOT = Path(__file__).parents[1]
FOLDERS = {"cache_format", "extract", "adapt", "pipelines", "conf"}
PLUGIN = {"losa_fused/__init__.py", "losa_fused/py.typed"}

TRY = """
import losa.adapt, losa.extract, losa.cache_format, losa.pipelines, importlib.resources
from pathlib import Path
import sys
for package in (losa.adapt, losa.extract, losa.cache_format, losa.pipelines):
    assert Path(package.__file__).is_relative_to(sys.argv[1]), package.__file__
assert importlib.resources.files("losa.conf").joinpath("extract.yaml").is_file()
from losa.adapt.kernels import kernels_told
print(kernels_told("cpu"))
"""

COMMAND = """
import sys
from importlib.metadata import distributions
(wheel,) = distributions(path=[sys.argv.pop(1)])
entry = wheel.entry_points[sys.argv.pop(1)].load()
import losa.pipelines
assert losa.pipelines.__file__.startswith(sys.path[0]), losa.pipelines.__file__
entry()
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder


def unpacked_sources(distributions: Path, folder: Path) -> Path:
    """The folder that the sdist unpacks to."""
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (sources,) = folder.iterdir()
    return sources


def build_wheel(sources: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    return subprocess.run(command, cwd=sources, check=True, capture_output=True, text=True)


def contents(wheel: Path) -> list[str]:
    return [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]


def test_the_wheel_holds_the_five_packages_and_the_plugin_and_nothing_else(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    names = contents(wheel)
    assert {name.split("/")[0] for name in names} == {"losa", "hydra_plugins"}
    assert {name.split("/")[1] for name in names if name.startswith("losa/")} == FOLDERS
    assert {name for name in names if name.startswith("hydra_plugins/")} == {
        f"hydra_plugins/{name}" for name in PLUGIN
    }
    for folder in FOLDERS:
        assert f"losa/{folder}/py.typed" in names
    data = {"conf/fgvc.yaml", "conf/dataset/vtab/dtd.yaml", "pipelines/serve/page/index.html"}
    data.add("pipelines/suite/published_results/vtab1k.json")
    data |= {f"extract/shipped/losa_tiny/{name}" for name in ("config.json", "model.safetensors")}
    assert {f"losa/{name}" for name in data} <= set(names)
    assert "losa/__init__.py" not in names


def test_the_wheel_holds_the_kernels_that_were_compiled_and_is_for_this_platform(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    compiled = {f"losa/adapt/kernels/{path.name}" for path in ROOT.glob("adapt/kernels/*.so")}
    assert {name for name in contents(wheel) if name.endswith(".so")} == compiled
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.stem.endswith(f"py3-none-{platform}" if compiled else "py3-none-any")


def test_without_a_compiler_the_wheel_is_for_any_platform(
    distributions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    sources = unpacked_sources(distributions, tmp_path)
    told = build_wheel(sources, tmp_path).stderr
    assert "Kernels were not compiled, torch takes their place: no C++ compiler" in told
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stem.endswith("py3-none-any")
    assert not [name for name in contents(wheel) if name.endswith(".so")]
    monkeypatch.setenv("LOSA_KERNELS", "required")
    with pytest.raises(subprocess.CalledProcessError):
        build_wheel(sources, tmp_path)


def test_the_sdist_holds_the_sources_and_the_tests(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {name for name in names if name.startswith(".src")} == {
        f".src/hydra_plugins/{name}" for name in PLUGIN
    }
    assert {"cache_format/reader.py", "conf/adapt.yaml", "tests/test_packaging.py", "LICENSE"} <= names
    golden = {str(path.relative_to(ROOT)) for path in (ROOT / "tests/golden").rglob("*") if path.is_file()}
    assert {name for name in golden if "__pycache__" not in name} <= names


def test_the_sdist_makes_the_same_wheel(distributions: Path, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    sources = unpacked_sources(distributions, tmp_path)
    for library in ROOT.glob("adapt/kernels/*.so"):
        shutil.copy(library, sources / "adapt/kernels")
    build_wheel(sources, tmp_path)
    (again,) = tmp_path.glob("*.whl")
    assert contents(again) == contents(wheel)


@pytest.fixture(scope="module")
def unpacked(distributions: Path) -> Path:
    (wheel,) = distributions.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(distributions / "site")
    return distributions / "site"


def test_the_version_is_told_where_it_is_cited_and_in_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = yaml.safe_load((ROOT / ".github/CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert cited["abstract"] == project["description"]
    assert f"\n## {project['version']}" in (ROOT / "docs/changelog.md").read_text(encoding="utf-8")


@pytest.fixture
def run_outside(unpacked: Path, run_alone: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """``run_outside(program, *arguments)``: in an empty folder, with what the wheel brought."""

    def run(program: str, *arguments: str) -> Any:
        program = f"import sys; sys.path.insert(0, {str(unpacked)!r})\n{program}"
        return run_alone(program, str(unpacked), *arguments, folder=tmp_path)

    return run


def test_the_wheel_runs_outside_the_checkout(run_outside: Callable[..., Any]) -> None:
    finished = run_outside(TRY)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == f"{kernels_told('cpu')}\n"


def test_a_command_of_the_wheel_runs_outside_the_checkout(run_outside: Callable[..., Any]) -> None:
    options = "plan=true dataset=digits backbone.name=test_vit backbone.pretrained=false cache=c"
    planned = run_outside(COMMAND, "losa-extract", *options.split())
    assert planned.returncode == 0, planned.stderr
    assert "1,797 to extract" in planned.stderr


def test_the_wheel_brings_its_launcher(unpacked: Path, run_outside: Callable[..., Any]) -> None:
    program = COMMAND.replace(
        "entry()",
        "try:\n    entry()\n"
        "finally:\n    print(sys.modules['hydra_plugins.losa_fused'].__file__)\n"
        "    print(sys.modules['losa.pipelines.fused_launcher'].__file__)",
    )
    failed = run_outside(program, "losa-adapt", "-m", "cache=nowhere", "rank=2,4")
    assert "error: 2 of 2 jobs failed:" in failed.stderr
    assert "nowhere is not a cache" in failed.stderr
    *_, plugin, launcher = failed.stdout.splitlines()
    assert plugin.startswith(str(unpacked)), plugin
    assert launcher.startswith(str(unpacked)), launcher
