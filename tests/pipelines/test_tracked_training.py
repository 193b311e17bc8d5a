"""losa-adapt with tracker=tensorboard, whose event files are read back."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from losa.adapt import AdaptConfig, Job, Trainer
from losa.cache_format import LosaError
from losa.pipelines.tracked_training import tracking, train

Command = Callable[..., Any]

SWEEP = [
    "cache=cache",
    "side=linear",
    "lr=1e-3,1e-2,1e-1",
    "epochs=3",
    "batch_size=20",
    "tracker=tensorboard",
]
SPLITS = ["train_split=train800", "eval_split=val200", "val_split=val200"]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of all series of a run."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def expected(sweep: Path) -> dict[str, list[tuple[int, float]]]:
    """The series that the files of the members tell."""
    series: dict[str, list[tuple[int, float]]] = {}
    for summary in sweep.glob("*/summary.json"):
        member = summary.parent.name
        lines = map(json.loads, (summary.parent / "metrics.jsonl").read_text().splitlines())
        for line in lines:
            for name in ("lr", "train_loss", "train_accuracy", "val_accuracy"):
                series.setdefault(f"{name}/{member}", []).append((line["epoch"], line[name]))
        accuracy = json.loads(summary.read_text())["accuracy"]["val200"]
        series[f"accuracy/val200/{member}"] = [(2, accuracy)]
    return series


def assert_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, points in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points]
        # TensorBoard keeps single precision.
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in points], rel=1e-6)


@pytest.mark.parametrize("launcher", ["fused", "basic"])
def test_a_sweep_is_one_run_with_series_of_each_member(
    command: Command, extracted: Path, launcher: str
) -> None:
    out = f"runs/tracked-{launcher}"
    sweep = ["-m", *SWEEP, *SPLITS, f"out={out}", f"hydra/launcher={launcher}"]
    finished = command(extracted, "losa-adapt", *sweep)
    assert finished.returncode == 0, finished.stderr
    (run,) = (extracted / out / "tensorboard").iterdir()
    wanted = expected(extracted / out)
    assert len(wanted) == 15
    assert_equal(scalars(run), wanted)
    events = EventAccumulator(str(run)).Reload()
    (table,) = events.Tensors("members/text_summary")
    assert len(table.tensor_proto.string_val[0].decode().splitlines()) == 5

    again = command(extracted, "losa-adapt", *sweep)
    assert again.returncode == 0, again.stderr
    assert [path.name for path in (extracted / out / "tensorboard").iterdir()] == ["run-1"]
    assert_equal(scalars(run), wanted)
    assert len(EventAccumulator(str(run)).Reload().Tensors("members/text_summary")) == 2


def test_an_interrupted_sweep_goes_on_with_its_series(
    command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Trainer.epoch

    def stopping(trainer: Trainer, number: int, *arguments: Any) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return whole(trainer, number, *arguments)

    sweep = ["-m", *SWEEP, *SPLITS, "out=runs/interrupted"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "epoch", stopping)
        assert command(extracted, "losa-adapt", *sweep).returncode == 130
    assert command(extracted, "losa-adapt", *reversed(sweep)).returncode == 0
    (run,) = (extracted / "runs/interrupted/tensorboard").iterdir()
    assert_equal(scalars(run), expected(extracted / "runs/interrupted"))

    assert command(extracted, "losa-adapt", *sweep, "overwrite=true").returncode == 0
    runs = extracted / "runs/interrupted/tensorboard"
    assert {path.name for path in runs.iterdir()} == {"run-1", "run-2"}
    assert_equal(scalars(runs / "run-2"), expected(extracted / "runs/interrupted"))


def test_the_choice_is_part_of_the_run(command: Command, extracted: Path) -> None:
    select = ["-m", *SWEEP, "train_split=train800", "protocol=select", "eval_split=test", "out=runs/chosen"]
    finished = command(extracted, "losa-adapt", *select)
    assert finished.returncode == 0, finished.stderr
    (run,) = (extracted / "runs/chosen/tensorboard").iterdir()
    (chosen,) = (extracted / "runs/chosen/selected").iterdir()
    series = scalars(run)
    assert len(series[f"train_loss/{chosen.name}"]) == 3
    assert sum(name.startswith("accuracy/test/") for name in series) == 1
    assert sum(name.startswith("accuracy/val200/") for name in series) == 3


def test_a_tracker_that_fails_ends_no_training(
    command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("losa.pipelines.trackers.tensorboard_tracker.TensorBoardTracker.log", full)
    finished = command(extracted, "losa-adapt", "-m", *SWEEP, *SPLITS, "out=runs/full-disk")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("tracker=tensorboard has failed") == 1
    assert len(list((extracted / "runs/full-disk").glob("*/summary.json"))) == 3


def test_a_missing_package_is_told_before_anything_is_trained(
    command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    failed = command(extracted, "losa-adapt", "-m", *SWEEP[:-1], "tracker=mlflow", "out=runs/missing")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: tracker=mlflow needs mlflow, which cannot be imported")
    assert failed.stderr.endswith("pip install 'losa[mlflow]'\n")
    assert not list((extracted / "runs/missing").glob("*/"))


@pytest.mark.parametrize("launcher", ["fused", "basic"])
def test_a_sweep_has_one_tracker(command: Command, extracted: Path, training: Any, launcher: str) -> None:
    several = ["cache=cache", "tracker=null,tensorboard", f"hydra/launcher={launcher}", "out=runs/several"]
    failed = command(extracted, "losa-adapt", "-m", *several)
    assert failed.returncode == 1
    assert (
        "tracker=null, tracker=tensorboard: expected one tracker for all jobs of a command" in failed.stderr
    )


def test_jobs_that_fail_before_the_training_begin_no_run(command: Command, extracted: Path) -> None:
    failed = command(extracted, "losa-adapt", "cache=nowhere", "tracker=tensorboard", "out=runs/nothing")
    assert failed.returncode == 1
    assert not (extracted / "runs/nothing").exists()


def test_a_tracker_needs_a_command(tmp_path: Path) -> None:
    job = Job(AdaptConfig(cache="cache", tracker="tensorboard"), tmp_path / "a")
    with pytest.raises(LosaError, match="expected a listener that tells it"):
        train([job], tmp_path)
    with tracking([]):  # where it fails only because there is no cache
        (outcome,) = train([job], tmp_path)
    assert "cache" in str(outcome)
    assert "listener" not in str(outcome)


def test_the_run_is_that_of_the_options_that_can_change_a_result(tmp_path: Path, training: Any) -> None:
    job = Job(AdaptConfig(cache="cache", tracker="tensorboard"), tmp_path / "a")
    for arguments in (
        ["-m", "cache=cache", "rank=4,8", "tracker=tensorboard"],
        ["rank=4,8", "cache=cache", "threads=2", "-m"],
        ["cache=cache", "rank=4,8,16"],
    ):
        with tracking(arguments):
            train([job], tmp_path)
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {"run-1", "run-2"}
