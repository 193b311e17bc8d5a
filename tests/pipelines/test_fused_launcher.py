"""The launcher does what Hydra's users expect of any launcher; the training is replaced by a stand-in."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losa.cache_format import LosaError

Command = Callable[..., Any]


@pytest.fixture
def sweep(command: Command, tmp_path: Path, training: Any) -> Callable[..., Any]:
    """``sweep(*arguments)``: a multirun in a folder of its own."""

    def run(*arguments: str) -> Any:
        return command(tmp_path, "losa-adapt", "-m", "cache=cache", *arguments)

    return run


def folders(tmp_path: Path) -> set[str]:
    return {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("summary.json")}


def test_all_jobs_are_trained_in_one_pass(sweep: Command, tmp_path: Path, training: Any) -> None:
    finished = sweep("rank=2,4", "lr=1e-3,1e-2")
    assert finished.returncode == 0, finished.stderr
    (jobs,) = training.passes
    assert [(job.config.rank, job.config.lr) for job in jobs] == [(2, 1e-3), (2, 1e-2), (4, 1e-3), (4, 1e-2)]
    assert [job.folder for job in jobs] == [Path("runs") / job.config.member_name for job in jobs]
    assert folders(tmp_path) == {str(job.folder) for job in jobs}
    assert "test accuracy" not in finished.stderr  # the table has it
    with (tmp_path / "runs/results.csv").open() as file:
        assert [row["rank"] for row in csv.DictReader(file)] == ["4", "4", "2", "2"]
    sweep("rank=2,4", "lr=1e-3,1e-2")
    assert len(training.trained) == 4


def test_a_member_that_is_requested_twice_is_trained_once(
    sweep: Command, tmp_path: Path, training: Any
) -> None:
    finished = sweep("side=linear", "rank=2,4")
    assert finished.returncode == 0, finished.stderr
    assert [len(set(jobs)) for jobs in training.passes] == [1]
    with (tmp_path / "runs/results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1


def test_options_without_an_effect_on_any_member_are_told_once(sweep: Command, training: Any) -> None:
    of_some = sweep("side=linear,losa", "rank=2,4", "dropout=0,0.5")
    assert of_some.returncode == 0, of_some.stderr
    assert "no effect" not in of_some.stderr
    of_none = sweep("side=linear,losa", "heads=2,4", "optimizer=adamw", "momentum=0.5", "lr=1e-2,0")
    told = [line for line in of_none.stderr.splitlines() if "no effect" in line]
    assert told == [
        "heads=2,4 has no effect with side=linear and side=losa",
        "momentum=0.5 has no effect with optimizer=adamw",
    ]
    interpolated = sweep("side=linear,mlp", "heads=${seed}", "seed=1,2")
    assert "heads=${seed} has no effect with side=linear and side=mlp\n" in interpolated.stderr
    # Nobody typed the dropout of this search.
    searched = sweep("search=small", "side=linear", "select_split=val200")
    assert "no effect" not in searched.stderr
    alone = sweep("side=linear,mlp", "heads=2", "hydra/launcher=basic")
    assert alone.stderr.count("heads=2 has no effect with side=") == 2


def test_jobs_that_fail_cost_the_others_nothing(sweep: Command, tmp_path: Path, training: Any) -> None:
    training.errors = {
        "losa-r4": LosaError("the loss became NaN"),
        "losa-r8": PermissionError(13, "Permission denied", "runs"),
    }
    failed = sweep("rank=0,2,4,8")
    assert failed.returncode == 1
    assert [job.config.rank for job in training.passes[0]] == [2, 4, 8]
    assert failed.stderr.endswith(
        "error: 3 of 4 jobs failed:\n"
        "  cache=cache rank=0: rank=0: expected auto; or input should be greater than or equal to 1\n"
        "  cache=cache rank=4: the loss became NaN\n"
        "  cache=cache rank=8: Permission denied: runs\n"
    )
    with (tmp_path / "runs/results.csv").open() as file:
        rows = [(row["rank"], row["status"]) for row in csv.DictReader(file)]
    assert rows == [("2", "finished"), ("0", "failed"), ("4", "failed"), ("8", "failed")]
    left = {path.name for path in (tmp_path / "runs").iterdir()}
    assert left == {"results.csv", "multirun.yaml", training.passes[0][0].config.member_name}


def test_two_members_cannot_have_one_folder(command: Command, extracted: Path) -> None:
    told = ["cache=cache", "side=linear", "epochs=1", "train_split=train800", "eval_split=val200"]
    folder = ["hydra.sweep.dir=runs/two", "hydra.sweep.subdir=here"]
    failed = command(extracted, "losa-adapt", "-m", "lr=1e-3,1e-2", *told, *folder)
    assert failed.returncode == 1
    assert "error: 1 of 2 jobs failed:" in failed.stderr
    assert "needs another folder (hydra.sweep.subdir=...)" in failed.stderr
    assert json.loads((extracted / "runs/two/here/summary.json").read_text())["options"]["lr"] == 1e-3


def test_the_basic_launcher_can_be_chosen(sweep: Command, training: Any) -> None:
    finished = sweep("rank=2,4", "hydra/launcher=basic")
    assert finished.returncode == 0, finished.stderr
    assert [len(jobs) for jobs in training.passes] == [1, 1]
    fused = sweep("rank=2,4")
    assert fused.stdout == finished.stdout
    assert len(training.trained) == 2


def test_folders_and_logs_are_where_hydra_is_told(sweep: Command, tmp_path: Path, training: Any) -> None:
    finished = sweep(
        "rank=2,4",
        "hydra.sweep.dir=elsewhere",
        "hydra.sweep.subdir=${hydra.job.num}-${rank}",
        "hydra.job.chdir=true",
        "hydra.output_subdir=.hydra",
        "hydra/job_logging=default",
    )
    assert finished.returncode == 0, finished.stderr
    assert folders(tmp_path) == {"elsewhere/0-2", "elsewhere/1-4"}
    for folder in folders(tmp_path):
        assert (tmp_path / folder / ".hydra/overrides.yaml").is_file()
        assert f"{folder}: test accuracy" in (tmp_path / folder / "adapt_command.log").read_text()
    assert (tmp_path / "elsewhere/adapt_command.log").is_file()


def test_callbacks_see_every_job(sweep: Command) -> None:
    callback = "+hydra.callbacks.log._target_=hydra.experimental.callbacks.LogJobReturnCallback"
    finished = sweep("rank=0,2", callback, "hydra/job_logging=default")
    assert finished.stdout.count("Succeeded with return value:") == 2


def test_a_sweeper_may_launch_in_batches(sweep: Command, tmp_path: Path, training: Any) -> None:
    finished = sweep("rank=2,4,8", "hydra.sweeper.max_batch_size=2", "hydra.sweep.subdir=${hydra.job.num}")
    assert finished.returncode == 0, finished.stderr
    assert [[job.folder.name for job in jobs] for jobs in training.passes] == [["0", "1"], ["2"]]


def test_the_environment_of_the_jobs_is_set_while_training(
    sweep: Command, training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def adapt_all(jobs: Any, **options: Any) -> Any:
        seen.append(os.environ.get("LOSA_TRIED"))
        return training.adapt_all(jobs)

    monkeypatch.setattr("losa.pipelines.tracked_training.adapt_all", adapt_all)
    sweep("rank=2,4", "+hydra.job.env_set.LOSA_TRIED=yes")
    assert seen == ["yes"]
    assert "LOSA_TRIED" not in os.environ


def test_ctrl_c_leaves_the_sweep_to_be_taken_up(
    sweep: Command, tmp_path: Path, training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(jobs: Any, **options: Any) -> Any:
        training.adapt_all(jobs[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("losa.pipelines.tracked_training.adapt_all", interrupted)
        stopped = sweep("rank=2,4")
    assert stopped.returncode == 130
    assert stopped.stderr.endswith("interrupted: run the same command again to resume\n")
    assert sweep("rank=2,4").returncode == 0
    assert len(training.trained) == 2
    assert len(folders(tmp_path)) == 2


def test_it_is_for_losa_adapt_only(command: Command, tmp_path: Path) -> None:
    options = ["backbone.name=test_vit", "backbone.pretrained=false", "plan=true", "limit=3,4"]
    refused = command(tmp_path, "losa-extract", "-m", *options, "hydra/launcher=fused")
    assert refused.returncode == 1
    assert refused.stderr == (
        "error: hydra/launcher=fused trains side networks, so it is for losa-adapt only; "
        "hydra/launcher=basic runs one job after the other\n"
    )
    stock = command(tmp_path, "losa-extract", "-m", *options)
    assert stock.returncode == 0, stock.stderr
    assert stock.stderr.count(" to extract in ") == 2


def test_other_hydra_applications_import_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from hydra.core.plugins import Plugins\n"
        "from hydra.plugins.launcher import Launcher\n"
        "print(*[plugin.__name__ for plugin in Plugins.instance().discover(Launcher)])\n"
        "print(*sorted(name for name in sys.modules if name.partition('.')[0] in ('torch', 'losa')))\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout == "BasicLauncher FusedLauncher\n\n"


@pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is not None, reason="the extra is here"
)
def test_optuna_is_an_extra(sweep: Command) -> None:
    refused = sweep("hydra/sweeper=optuna")
    assert refused.returncode == 1
    assert (
        refused.stderr == "error: hydra/sweeper=optuna needs further packages: pip install 'losa[optuna]'\n"
    )


@pytest.mark.filterwarnings("default")  # Optuna 2.10 uses what others have deprecated since
def test_optuna_proposes_a_batch_and_optimises_the_accuracy(
    sweep: Command, tmp_path: Path, training: Any
) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs the extra optuna")
    study = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=4"]
    finished = sweep(*study, "hydra.sweeper.direction=maximize", "rank=choice(2,4)", "seed=choice(0,-9)")
    assert finished.returncode == 0, finished.stderr
    assert len(training.passes) == 2
    members = [job.config for jobs in training.passes for job in jobs]
    best = max((config.rank + config.seed) / 100 for config in members)
    assert f"best_value: {best}" in (tmp_path / "runs/optimization_results.yaml").read_text()
