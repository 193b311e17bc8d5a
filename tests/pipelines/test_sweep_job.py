"""Jobs that nobody but losa looks at end as those that Hydra runs itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback

from losa.pipelines import sweep_job
from losa.pipelines.sweep_job import SweepJob

WATCHED = "+hydra.callbacks.watch._target_=tests.pipelines.test_sweep_job.Watcher"


class Watcher(Callback):
    """A callback that looks at nothing."""


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch) -> list[JobReturn]:
    """What the jobs return."""
    found: list[JobReturn] = []
    run = SweepJob.run

    def running(job: SweepJob, task_function: Any) -> JobReturn:
        found.append(run(job, task_function))
        return found[-1]

    monkeypatch.setattr(SweepJob, "run", running)
    return found


@pytest.fixture
def sweep(command: Callable[..., Any], tmp_path: Path, training: Any) -> Callable[..., Any]:
    """``sweep(folder, *arguments)``: a multirun in a folder of its own."""

    def run(folder: str, *arguments: str) -> Any:
        (tmp_path / folder).mkdir()
        return command(tmp_path / folder, "losa-adapt", "-m", "cache=cache", *arguments)

    return run


OPTIONS = [
    ["rank=0,2,4", "seed=1,2"],
    ["rank=2,4", "lr=${rank}", "hydra.sweep.subdir=${hydra.job.num}-${rank}"],
    ["rank=2", "lr=${none_such},0.1"],
    ["rank=2", "seed=${hydra.job.num},5"],
    ["rank=2,4", "protocol=select", "eval_split=[test,more]"],
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_makes_no_difference_who_looks(
    sweep: Any, returned: list[JobReturn], tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("losa.pipelines.selection.refuse_missing_splits", lambda *_: None)
    monkeypatch.setattr("losa.pipelines.selection.refuse_choice_on_scored_images", lambda *_: None)
    monkeypatch.setattr("losa.pipelines.selection.Cache", lambda path: None)
    plain = sweep("plain", *options)
    unwatched = list(returned)
    returned.clear()
    watched = sweep("watched", *options, WATCHED)
    assert (plain.returncode, plain.stdout) == (watched.returncode, watched.stdout)
    assert plain.stderr == watched.stderr
    for mine, theirs in zip(unwatched, returned, strict=True):
        assert mine.cfg is mine.hydra_cfg is None
        assert theirs.cfg is not None
        assert (mine.status, mine.overrides, mine.task_name) == (
            theirs.status,
            theirs.overrides,
            theirs.task_name,
        )
        assert mine.return_value == theirs.return_value
    found = [
        {path.relative_to(tmp_path / folder) for path in (tmp_path / folder).rglob("*")}
        for folder in ("plain", "watched")
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "watcher",
    [
        WATCHED,
        "hydra.output_subdir=.hydra",
        "hydra.job.chdir=true",
        "+hydra.job.env_set.A=b",
        "hydra/job_logging=default",
    ],
)
def test_jobs_that_somebody_looks_at_are_run_by_hydra(
    sweep: Any, monkeypatch: pytest.MonkeyPatch, watcher: str
) -> None:
    run_by_hydra = []

    def run_job(**arguments: Any) -> JobReturn:
        run_by_hydra.append(arguments["config"].rank)
        return original(**arguments)

    original = sweep_job.run_job
    monkeypatch.setattr(sweep_job, "run_job", run_job)
    assert sweep("quiet", "rank=2,4").returncode == 0
    assert not run_by_hydra
    assert sweep("watched", "rank=2,4", watcher).returncode == 0
    assert run_by_hydra == [2, 4]
