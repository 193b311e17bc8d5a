"""What the README tells people to type."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def promised_files() -> set[str]:
    """Of a member's folder."""
    rows = re.findall(r"^\| (`[^|]*) \|", README, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_commands_and_program_run_as_printed(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"}
    (console,) = blocks("console")
    for line in console.splitlines():
        finished = subprocess.run(
            shlex.split(line.removeprefix("$ ")),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stderr
    with (tmp_path / "runs/sweep/results.csv").open() as file:
        best, *others = csv.DictReader(file)
    assert len(others) == 4
    (final,) = tmp_path.glob("runs/losa-*/summary.json")
    summary = json.loads(final.read_text())
    assert summary["accuracy"].keys() == {"test"}
    for folder in (final.parent, tmp_path / best["folder"]):
        assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == promised_files()
    for field in re.findall(r"`(\w+)`", re.search(r"\| `summary.json` \|(.*)\|", README)[1]):
        assert field in summary

    (program,) = blocks("python")
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    arrays, chosen = printed.splitlines()
    assert arrays.startswith("(32, 2, 101, 64) ['digit/")
    assert f"{{'val200': {best['accuracy.val200']}}}" in chosen


def test_the_verbs_exist() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    for verb in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (Path(__file__).parents[1] / link).exists()
