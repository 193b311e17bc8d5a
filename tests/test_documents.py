"""What the README and the pages of docs/ tell people to type."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))
USING = ROOT / "docs/using.md"
"""Its programs need side networks."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def programs(page: Path) -> list[tuple[str, str | None]]:
    """Every Python snippet, and what a text block right behind it says that it prints."""
    found = re.findall(
        r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?",
        page.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    return [(program, printed or None) for program, printed in found]


def run(program: str, folder: Path) -> str:
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=folder, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def promised_files() -> set[str]:
    """Of a member's folder."""
    rows = re.findall(r"^\| (`[^|]*) \|", README, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.mark.long
def test_commands_and_program_run_as_printed(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"}
    paint_photo(tmp_path)
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

    shortest, program = blocks("python")
    assert len(shortest.split("\n\n")) == 2
    assert re.fullmatch(r"photo\.jpg: \d \d+\.\d %(, \d \d+\.\d %){4}\n", run(shortest, tmp_path))
    accuracy = summary["accuracy"]["test"]
    assert run(program, tmp_path) == f"test_vit (200, 4, 101, 64) {accuracy}\n"


def paint_photo(folder: Path) -> None:
    Image.radial_gradient("L").save(folder / "photo.jpg")


@pytest.mark.long
def test_programs_that_use_side_networks_run(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    paint_photo(tmp_path)
    make_run(tmp_path / "runs/sweep/losa-one")
    make_run(tmp_path / "runs/sweep/linear-two", "linear")
    predicting, serving, _ = programs(USING)  # the last one is tested with losa-export
    lines = run(predicting[0], tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == ["linear-two", "losa-one"]
    answer = """
from starlette.testclient import TestClient

answer = TestClient(app).post("/", content=open("photo.jpg", "rb").read())
print(*(each["side_network"] for each in answer.json()))
"""
    assert run(serving[0] + answer, tmp_path) == "linear-two losa-one\n"
    assert len(serving[0].strip().splitlines()) <= 20


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        pytest.param(*program, id=f"{page.name}-{number}")
        for page in PAGES
        if page != USING
        for number, program in enumerate(programs(page))
    ],
)
def test_snippets_print_what_the_page_says(program: str, printed: str | None) -> None:
    found = run(program, ROOT)
    if printed is not None:
        # Without blanks at the ends of lines and of the whole: editors remove them.
        assert [line.rstrip() for line in found.rstrip().splitlines()] == printed.rstrip().splitlines()


def test_the_plain_reader_of_the_specification_reads_both_stores() -> None:
    ((program, printed),) = [one for one in programs(ROOT / "docs/format.md") if "def unseal" in one[0]]
    assert "import zarr" not in program
    assert run(program.replace("zarr-int8", "hdf5-int8"), ROOT) == run(program, ROOT) == printed


def test_pages_have_no_other_snippets() -> None:
    for page in PAGES:
        languages = re.findall(r"^```(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(languages) <= {"python", "text"}, page
        assert languages.count("python") == len(programs(page)), page


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_verbs_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = re.findall(
        r"(?:^    |`|\()make ([a-z-]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert verbs
    for verb in verbs:
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb


@pytest.mark.parametrize(
    "place",
    [
        page.parent / link
        for page in (ROOT / "README.md", *PAGES)
        for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8"))
    ],
    ids=lambda place: str(place.relative_to(ROOT)),
)
def test_links_lead_somewhere(place: Path) -> None:
    assert place.exists()
