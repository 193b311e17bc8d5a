"""What the README and the pages of docs/ tell people to type.

Blocks of ``console`` and ``python`` run, those of a page with commands one after another in one folder. Other
commands are parsed: tests/test_documented_commands.py.
"""

import contextlib
import csv
import io
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = [
    pytest.mark.usefixtures("shapes_are_not_checked", "sizes_are_not_measured"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # short programs leave files open
]

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").rglob("*.md"))
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
USING = ROOT / "docs/using.md"
"""Its programs need side networks."""
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
"""A block that runs, and what a text block right behind it says that it prints."""
MIGRATING = ROOT / "docs/migrating.md"
"""Its programs build on each other."""
WALKS = [page for page in PAGES if page == MIGRATING or "```console\n" in page.read_text(encoding="utf-8")]
"""Pages that are typed from top to bottom."""


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits of few images: commands are typed as the pages have them."""
    splits = {
        "train800": slice(40),
        "val200": slice(40, 60),
        "train800val200": slice(60),
        "test": slice(100, 200),
    }
    monkeypatch.setattr("losa.extract.sources.digits._SPLITS", splits)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def programs(page: Path) -> list[tuple[str, str | None]]:
    """Every Python snippet, and what it prints if the page says so."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(text, printed or None) for language, text, printed in found if language == "python"]


def lines(text: str) -> list[str]:
    """Without blanks at the ends of lines and of the whole: editors remove them."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def run(program: str, folder: Path, names: dict[str, Any] | None = None) -> str:
    """What a program prints; ``names`` are those of the programs before it."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(program, "<page>", "exec"), {"__name__": "__main__"} if names is None else names)
    return out.getvalue()


def promised_files() -> set[str]:
    """Of a member's folder."""
    rows = re.findall(r"^\| (`[^|]*) \|", README, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def type_in(console: str, folder: Path, command: Callable[..., Any]) -> None:
    for line in console.splitlines():
        assert line.startswith("$ losa-"), line
        finished = command(folder, *shlex.split(line.removeprefix("$ ")))
        assert finished.returncode == 0, finished.stderr


@pytest.mark.usefixtures("few_digits")
def test_commands_and_program_run_as_printed(tmp_path: Path, command: Callable[..., Any]) -> None:
    paint_photo(tmp_path)
    (console,) = blocks("console")
    type_in(console, tmp_path, command)
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
    assert run(program, tmp_path) == f"losa_tiny (100, 3, 64, 160) {accuracy}\n"


def paint_photo(folder: Path) -> None:
    Image.radial_gradient("L").save(folder / "photo.jpg")


def paint_photos(folder: Path) -> None:
    """``photo.jpg``, and a folder of photos for each of two classes."""
    paint_photo(folder)
    for number in range(10):
        for kind, paint in {"cat": Image.radial_gradient, "dog": Image.linear_gradient}.items():
            path = folder / "photos" / kind / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            paint("L").rotate(9 * number).resize((64, 48)).save(path)


@pytest.mark.long
@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("page", WALKS, ids=lambda page: page.stem)
def test_a_page_can_be_typed_from_top_to_bottom(
    page: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    paint_photos(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for language, text, printed in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            type_in(text, tmp_path, command)
        else:
            assert lines(run(text, tmp_path, names)) == lines(printed)


def test_programs_that_use_side_networks_run(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    paint_photo(tmp_path)
    make_run(tmp_path / "runs/sweep/losa-one")
    make_run(tmp_path / "runs/sweep/linear-two", "linear")
    predicting, serving, _ = programs(USING)  # the last one is tested with losa-export
    told = run(predicting[0], tmp_path).splitlines()
    assert [line.split()[0] for line in told] == ["linear-two", "losa-one"]
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
        if page != USING and page not in WALKS
        for number, program in enumerate(programs(page))
    ],
)
def test_snippets_print_what_the_page_says(program: str, printed: str | None) -> None:
    found = run(program, ROOT)
    if printed is not None:
        assert lines(found) == lines(printed)


def test_the_plain_reader_of_the_specification_reads_both_stores() -> None:
    ((program, printed),) = [one for one in programs(ROOT / "docs/format.md") if "def unseal" in one[0]]
    assert "import zarr" not in program
    assert run(program.replace("zarr-int8", "hdf5-int8"), ROOT) == run(program, ROOT) == printed


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_every_block_runs_or_is_said_to_be_something_else(page: Path) -> None:
    """``bash`` is for commands that are only parsed: they need a network, a GPU or a large data set."""
    text = page.read_text(encoding="utf-8")
    languages = re.findall(r"^```(\w*)$", text, re.MULTILINE)
    assert set(languages) <= {"console", "python", "text", "bash", ""}
    assert languages.count("console") + languages.count("python") == len(BLOCK.findall(text))


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
        page.parent / link.partition("#")[0]
        for page in (ROOT / "README.md", *PAGES)
        for link in re.findall(r"\]\((?!http|#)([^)]+)\)", page.read_text(encoding="utf-8"))
    ],
    ids=lambda place: str(place.relative_to(ROOT)),
)
def test_links_lead_somewhere(place: Path) -> None:
    assert place.exists()


def test_every_page_is_in_the_navigation() -> None:
    navigation = re.findall(
        r": ([\w/-]+\.(?:md|ipynb))$", (ROOT / ".mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(navigation) == sorted(str(page.relative_to(ROOT / "docs")) for page in (*PAGES, *NOTEBOOKS))


def test_every_extra_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/install.md").read_text(encoding="utf-8"), re.MULTILINE)
    explained = {extra for row in rows for extra in re.findall(r"`(\w+)`", row)}
    assert explained == project["optional-dependencies"].keys()
