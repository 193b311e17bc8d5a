"""Imports run one way, and the public API is small and quick to import."""

import ast
import types
from pathlib import Path

import pytest

import losa.cache_format

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "cache_format": {"cache_format"},
    "extract": {"cache_format", "extract", "conf"},
    "adapt": {"cache_format", "adapt", "conf"},
    "pipelines": {"cache_format", "extract", "adapt", "pipelines", "conf"},
    "conf": {"conf"},
}
PUBLIC = [
    "Cache",
    "CacheError",
    "CacheInUse",
    "CacheRequest",
    "CacheWriter",
    "Calibration",
    "Codec",
    "Codes",
    "CorruptCache",
    "FeatureIdentity",
    "IdentityMismatch",
    "IncompleteCache",
    "LabelColumn",
    "LabelledSplit",
    "LosaError",
    "Manifest",
    "NonFiniteActivations",
    "Repair",
    "Segment",
    "SiteStatistics",
    "Split",
    "SplitContents",
    "Verification",
    "backbone_sites",
    "calibrate",
    "make_codec",
    "repair",
    "select_sites",
    "verify",
]


def imported_modules(source: str, package: str) -> set[str]:
    """Absolute names of everything that a file of ``package`` imports, anywhere in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return found


def wrong_imports(source: str, folder: str, package: str) -> list[str]:
    """Imports of parts of losa that ``folder`` must not import."""
    parts = {name: name.split(".")[1] for name in imported_modules(source, package) if name[:5] == "losa."}
    return sorted(name for name, part in parts.items() if part not in MAY_IMPORT[folder])


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_one_way(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {}
    for file in files:
        package = ".".join(["losa", *file.relative_to(ROOT).parent.parts])
        if names := wrong_imports(file.read_text(), folder, package):
            wrong[str(file.relative_to(ROOT))] = names
    assert not wrong


@pytest.mark.parametrize(
    ("folder", "source", "expected"),
    [
        ("cache_format", "import losa.extract.encoding", ["losa.extract.encoding"]),
        ("extract", "from losa.adapt import train", ["losa.adapt.train"]),
        ("adapt", "def f():\n    from losa import extract", ["losa.extract"]),
        ("adapt", "if TYPE_CHECKING:\n    import losa.pipelines as p", ["losa.pipelines"]),
        ("extract", "from ...adapt import train", ["losa.adapt.train"]),
        ("extract", "importlib.import_module('losa.adapt')", ["losa.adapt"]),
        ("pipelines", "import losa.extract, losa.adapt, losa.cache_format, torch", []),
        ("extract", "from . import x\nfrom losa.cache_format import Cache", []),
    ],
)
def test_the_check_sees_every_kind_of_import(folder, source, expected):
    assert wrong_imports(source, folder, f"losa.{folder}.inner") == expected


def test_the_format_is_imported_without_torch_timm_hydra_and_zarr(run_python):
    script = "import sys, losa.cache_format; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(run_python(script).split())
    assert {"losa", "numpy", "pydantic", "crc32c"} <= loaded
    assert not loaded & {"torch", "timm", "hydra", "omegaconf", "zarr"}


def test_front_door_is_pinned_sorted_and_complete():
    names = losa.cache_format.__all__
    assert names == PUBLIC
    assert names == sorted(names)
    public = {
        name
        for name, value in vars(losa.cache_format).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(names)
