"""The tutorial, docs/tutorial.ipynb: its code runs from top to bottom, and shows what the notebook has.

Its commands run within this process, and no Jupyter is needed. ``make tutorial`` runs it in Jupyter.
"""

import ast
import base64
import contextlib
import io
import json
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = [
    pytest.mark.usefixtures("shapes_are_not_checked"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # short programs leave files open
]

NOTEBOOK = Path(__file__).parents[1] / "docs/tutorial.ipynb"
CELLS = [each for each in json.loads(NOTEBOOK.read_bytes())["cells"] if each["cell_type"] == "code"]
"""Those with code."""
COMMAND = re.compile(r"^!((?:.*\\\n)*.*)", re.MULTILINE)
FILE = "%%writefile "
NUMBER = re.compile(r"\d+\.\d+|\d+e-\d+|\d+(?= s\b)")
"""A measured one: the others are the same on every machine."""
OF_THE_MACHINE = re.compile(
    r"images/s|img/s|\bthreads?\b|free at|this disk|^residency="  # its speed, disk and GPU
    r"|^made with|^machine |^architecture |^data_set_root |^identity "  # versions and paths
    r"|^(best|chosen): |-epochs\d|^│ [\w.+#]+-[\w.+#-]* │|seen as"  # other rounding may choose another one
)


def lines(text: str) -> set[str]:
    """Lines that any machine shows, with # for measured numbers, and without colours and blanks."""
    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    shown = (" ".join(NUMBER.sub("#", line).split()) for line in text.splitlines())
    return {line for line in shown if line and not OF_THE_MACHINE.search(line)}


def printed(cell: dict[str, Any]) -> str:
    """What a cell printed when the notebook was last run."""
    return "".join(part for output in cell["outputs"] for part in output.get("text", ()))


def pictures(cell: dict[str, Any]) -> list[Image.Image]:
    """What it showed."""
    shown = [output["data"]["image/png"] for output in cell["outputs"] if "data" in output]
    return [Image.open(io.BytesIO(base64.b64decode("".join(each)))) for each in shown]


def run(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """What a cell prints, and the value of its last line if that is an expression."""
    if source.startswith(FILE):
        name, _, text = source.removeprefix(FILE).partition("\n")
        Path(name).write_text(text, encoding="utf-8")
        return f"Writing {name}\n", None
    program = ast.parse(COMMAND.sub(lambda found: f"shell({found[1]!r})", source))
    last = program.body.pop() if isinstance(program.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(program, "<cell>", "exec"), names)
        value = last and eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    return out.getvalue(), value


@pytest.fixture
def names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]
) -> Iterator[dict[str, Any]]:
    """Those that the cells share; ``shell`` runs a command in the folder that they have made."""

    def shell(text: str) -> None:
        finished = command(Path.cwd(), *shlex.split(text.replace("\\\n", "")))
        assert finished.returncode == 0, finished.stderr
        print(finished.stdout + finished.stderr)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__", "shell": shell}
    yield names
    if "service" in names:
        with names["service"] as service:
            service.kill()


@pytest.mark.slow
def test_it_shows_again_what_it_shows(names: dict[str, Any]) -> None:
    for cell in CELLS:
        text, value = run("".join(cell["source"]), names)
        assert lines(text) == lines(printed(cell)), cell["id"]
        assert isinstance(value, Image.Image) == bool(pictures(cell)), cell["id"]
    assert names["service"].poll() is not None


def test_it_was_run_from_top_to_bottom() -> None:
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    assert "error" not in {output["output_type"] for cell in CELLS for output in cell["outputs"]}
    assert all(printed(cell) for cell in CELLS if COMMAND.search("".join(cell["source"])))
    assert sum(len(pictures(cell)) for cell in CELLS) == 3


def test_it_is_small_and_tells_no_place_of_a_machine() -> None:
    assert NOTEBOOK.stat().st_size < 400_000
    assert not re.findall(r"/(?:tmp|home|root|work)/\S*", "".join(map(printed, CELLS)))


def test_the_service_imports_neither_losa_nor_torch() -> None:
    (service,) = ("".join(cell["source"]) for cell in CELLS if cell["source"][0].startswith(FILE))
    program = ast.parse(service.partition("\n")[2])
    modules = set()
    for node in program.body:
        if isinstance(node, ast.ImportFrom):
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    assert modules == {"io", "json", "http.server", "pathlib", "numpy", "onnxruntime", "PIL"}
