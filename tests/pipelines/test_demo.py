import re
import subprocess
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from losa.pipelines import demo


@pytest.mark.slow
def test_the_demo_runs_offline(
    command: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    finished = command(tmp_path, "losa-demo")
    assert finished.returncode == 0, finished.stderr
    assert len(list(tmp_path.glob("demo/runs/*/summary.json"))) == 4
    (chosen,) = tmp_path.glob("demo/runs/selected/*/summary.json")
    assert "linear" not in chosen.parent.name
    page = (tmp_path / "demo/report.html").read_text(encoding="utf-8")
    assert "</html>" in page
    assert page.count('src="data:image/jpeg;base64,') == 24
    assert re.search(r"seven\.png.* 7 ", capfd.readouterr().out)


def test_it_runs_four_commands_and_tells_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        ran.append([Path(command[0]).name, *command[1:]])
        return SimpleNamespace(returncode=0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    demo.run()
    assert ran == [demo.EXTRACT, demo.ADAPT, demo.PAGE, demo.PREDICT]
    told = capsys.readouterr().out
    positions = [told.index(f"\n{step}. ") for step in (1, 2, 3, 4)]
    assert positions == sorted(positions)
    assert demo.DIGIT.exists()
    assert told.index(demo.PICTURE) > positions[-1]
    assert told.endswith(demo.NEXT + "\n")


def test_what_it_names_exists() -> None:
    commands = {entry.name for entry in entry_points(group="console_scripts")}
    assert set(re.findall(r"losa-(?!tiny)[a-z]+", demo.NEXT)) <= commands
    assert Path(__file__).parents[2].joinpath("docs/losa-tiny.md").exists()


def test_a_failing_command_ends_the_demo_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as failed:
        demo.show_and_run("This fails.", ["losa-adapt", "cache=nowhere"])
    assert failed.value.code == 1


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("-h", 0), ("quick", 2)])
def test_arguments_do_not_run_it(
    argument: str, code: int, command: Callable[..., Any], tmp_path: Path
) -> None:
    finished = command(tmp_path, "losa-demo", argument)
    assert finished.returncode == code
    assert "usage: losa-demo" in finished.stdout + finished.stderr
    assert not list(tmp_path.iterdir())
