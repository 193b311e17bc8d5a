"""MLflow is replaced by a stand-in with the signatures of MLflow 3.17."""

import os
import sys
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from losa.pipelines.trackers import make_tracker


class Metric(NamedTuple):
    key: str
    value: float
    timestamp: int
    step: int


class Server(ModuleType):
    """The module mlflow, and what it was told."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: list[tuple[str | None, dict[str, Any] | None]] = []
        self.batches: list[tuple[str, list[Metric]]] = []
        self.texts: list[tuple[str, str, str]] = []
        self.status: str | None = None

    def start_run(self, run_id: str | None = None, *, tags: dict[str, Any] | None = None) -> Any:
        self.runs.append((run_id, tags))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "new"))

    def end_run(self, status: str = "FINISHED") -> None:
        self.status = status

    def MlflowClient(self) -> "Server":  # noqa: N802 -- MLflow's name
        return self

    def log_batch(self, run_id: str, metrics: Sequence[Metric] = ()) -> None:
        self.batches.append((run_id, list(metrics)))

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        self.texts.append((run_id, text, artifact_file))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    module = Server()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", SimpleNamespace(Metric=Metric))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    return module


def test_a_sweep_is_one_run(server: Server, sweep_run: Any, table: Any) -> None:
    tracker = make_tracker("mlflow")
    assert tracker.start(sweep_run()) == "new"
    tracker.log(3, {"lr/a": 0.5, "lr/b": 0.1})
    tracker.finish(table, completed=True)
    ((run, tags),) = server.runs
    assert run is None
    assert tags is not None
    assert tags["losa.options"] == "cache=cache rank=4,8"
    ((told, metrics),) = server.batches
    assert told == "new"
    assert [(metric.key, metric.value, metric.step) for metric in metrics] == [
        ("lr/a", 0.5, 3),
        ("lr/b", 0.1, 3),
    ]
    assert server.texts == [("new", "member,rank,accuracy/test\r\na,8,0.5\r\nb|c,,0.25\r\n", "members.csv")]
    assert server.status == "FINISHED"


def test_an_earlier_run_goes_on(server: Server, sweep_run: Any, table: Any) -> None:
    tracker = make_tracker("mlflow")
    assert tracker.start(sweep_run("earlier")) == "earlier"
    tracker.finish(table, completed=False)
    assert server.runs[0][0] == "earlier"
    assert server.status == "FAILED"


def test_its_environment_variables_decide(server: Server, sweep_run: Any) -> None:
    os.environ["MLFLOW_RUN_ID"] = "mine"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "7"
    assert make_tracker("mlflow").start(sweep_run("earlier")) == "mine"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"
