"""W&B is replaced by a stand-in with the signatures of wandb 0.31."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from losa.cache_format import LosaError
from losa.pipelines.trackers import make_tracker


class Run:
    def __init__(self, **options: Any) -> None:
        self.options = options
        self.id = options["id"] or "new"
        self.metrics: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.exit_code: int | None = None

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics[name] = step_metric

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        assert step is None  # it could never go back
        self.history.append(data)

    def finish(self, exit_code: int | None = None) -> None:
        self.exit_code = exit_code


class Table:
    def __init__(self, columns: list[str], data: list[list[Any]], *, allow_mixed_types: bool = False) -> None:
        self.columns, self.data = columns, data


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that were begun."""
    runs: list[Run] = []

    def init(
        *, id: str | None = None, resume: str | None = None, config: dict[str, Any] | None = None
    ) -> Run:
        runs.append(Run(id=id, resume=resume, config=config))
        return runs[-1]

    for variable in ("WANDB_RUN_ID", "WANDB_RESUME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Table=Table))
    return runs


def test_a_sweep_is_one_run(begun: list[Run], sweep_run: Any, table: Any) -> None:
    tracker = make_tracker("wandb")
    assert not begun
    assert tracker.start(sweep_run()) == "new"
    tracker.log(1, {"lr/a": 0.5, "lr/b": 0.1})
    tracker.log(0, {"lr/c": 0.2})
    tracker.finish(table, completed=True)
    (run,) = begun
    assert run.options["config"]["options"] == ["cache=cache", "rank=4,8"]
    assert run.metrics == {"epoch": None, "*": "epoch"}
    *series, last = run.history
    assert series == [{"epoch": 1, "lr/a": 0.5, "lr/b": 0.1}, {"epoch": 0, "lr/c": 0.2}]
    assert last["members"].columns == ["member", "rank", "accuracy/test"]
    assert last["members"].data == [["a", 8, 0.5], ["b|c", None, 0.25]]
    assert run.exit_code == 0


def test_an_earlier_run_goes_on(begun: list[Run], sweep_run: Any, table: Any) -> None:
    tracker = make_tracker("wandb")
    assert tracker.start(sweep_run("earlier")) == "earlier"
    tracker.finish(table, completed=False)
    (run,) = begun
    assert (run.options["id"], run.options["resume"], run.exit_code) == ("earlier", "allow", 1)


def test_its_environment_variables_decide(
    begun: list[Run], sweep_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    monkeypatch.setenv("WANDB_RESUME", "must")
    make_tracker("wandb").start(sweep_run("earlier"))
    assert (begun[0].options["id"], begun[0].options["resume"]) == ("mine", "must")


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(LosaError, match=r"tracker=wandb needs wandb, .*: pip install 'losa\[wandb\]'"):
        make_tracker("wandb")
