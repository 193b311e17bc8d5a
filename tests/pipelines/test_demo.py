from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.pipelines import demo


@pytest.mark.slow
def test_the_demo_runs_offline(command: Callable[..., Any], tmp_path: Path) -> None:
    finished = command(tmp_path, "losa-demo")
    assert finished.returncode == 0, finished.stderr
    assert "UNTRAINED" in finished.stdout
    assert len(list(tmp_path.glob("demo/runs/*/summary.json"))) == 5
    assert (tmp_path / "demo/runs/results.csv").exists()


def test_a_failing_command_ends_the_demo_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as failed:
        demo.show_and_run(["losa-adapt", "cache=nowhere"])
    assert failed.value.code == 1


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("-h", 0), ("quick", 2)])
def test_arguments_do_not_run_it(
    argument: str, code: int, command: Callable[..., Any], tmp_path: Path
) -> None:
    finished = command(tmp_path, "losa-demo", argument)
    assert finished.returncode == code
    assert "usage: losa-demo" in finished.stdout + finished.stderr
    assert not list(tmp_path.iterdir())
