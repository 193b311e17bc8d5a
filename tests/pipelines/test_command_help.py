"""Help answers at once: what only a job needs is not imported for it."""

import subprocess
import sys

import pytest

from losa.pipelines.command_help import help_text

PROGRAM = """
import sys
from importlib.metadata import entry_points
(entry,) = entry_points(group="console_scripts", name=sys.argv.pop(1))
try:
    entry.load()()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "shown", "spared"),
    [
        (["losa-extract", "--help"], "rows_per_shard: 64 ", {"numpy", "pydantic", "rich"}),
        (["losa-adapt", "--help"], "rank: auto ", {"numpy", "pydantic", "rich"}),
        (["losa-adapt", "rank=4", "-h"], "rank: auto ", {"numpy", "pydantic", "rich"}),
        (["losa-predict", "--help"], "max_pixels: 178956970 ", {"numpy", "pydantic", "rich"}),
        (["losa-serve", "runs", "-h"], "max_upload: 20000000 ", {"numpy", "pydantic", "rich", "starlette"}),
        (["losa-bench", "--help"], "fused", {"numpy"}),
        # typer itself imports pydantic, if it is there, to show the options of a subcommand.
        (["losa-bench", "fused", "-h"], "--members", {"numpy"}),
        (["losa-cache", "--help"], "convert", set()),
        (["losa-report", "--help"], "page", {"numpy", "altair"}),
        (["losa-report", "page", "-h"], "--images", {"numpy", "altair"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_imports_nothing_heavy(arguments: list[str], shown: str, spared: set[str]) -> None:
    finished = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert shown in finished.stdout
    loaded = set(finished.stderr.split())
    assert "losa" in loaded
    assert not loaded & ({"torch", "timm", "hydra", "omegaconf", "zarr"} | spared)


def test_sweeps_are_explained_where_there_are_sweeps() -> None:
    assert "--multirun" in help_text("adapt")
    assert "--multirun" not in help_text("predict", sweeps=False)
