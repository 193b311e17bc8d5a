from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from losa.pipelines.trackers import make_tracker


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def points(folder: Path, series: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 6)) for event in read(folder).Scalars(series)]


def test_a_run_is_a_folder(sweep_run: Any, table: Any, tmp_path: Path) -> None:
    tracker = make_tracker("tensorboard")
    assert list(tmp_path.iterdir()) == []
    name = tracker.start(sweep_run())
    for step, loss in enumerate((2.0, 1.5)):
        tracker.log(step, {"train_loss/a": loss, "train_loss/b": loss / 2})
    tracker.finish(table, completed=True)
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert folder.name == name == "run-1"
    assert points(folder, "train_loss/a") == [(0, 2.0), (1, 1.5)]
    assert points(folder, "train_loss/b") == [(0, 1.0), (1, 0.75)]
    (shown,) = read(folder).Tensors("members/text_summary")
    assert shown.tensor_proto.string_val[0].decode().splitlines()[-1] == "| b\\|c |  | 0.25 |"


def test_an_earlier_run_goes_on_and_another_begins(sweep_run: Any, tmp_path: Path) -> None:
    for earlier, step in ((None, 0), ("run-1", 1), (None, 0)):
        tracker = make_tracker("tensorboard")
        tracker.start(sweep_run(earlier))
        tracker.log(step, {"lr/a": 0.5})
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {"run-1", "run-2"}
    assert points(tmp_path / "tensorboard/run-1", "lr/a") == [(0, 0.5), (1, 0.5)]


def test_a_full_disk_is_an_error_of_the_call(
    sweep_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = make_tracker("tensorboard")
    tracker.start(sweep_run())
    (file,) = tmp_path.rglob("events.*")
    file.unlink()
    file.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        tracker.log(0, {"lr/a": 0.5})
