import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import Job, MemberSummary, Trainer, adapt_all
from losa.cache_format import LosaError

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


class Recorder:
    """A `TrainingListener` that keeps what it is told."""

    def __init__(self) -> None:
        self.starts = 0
        self.epochs: list[tuple[str, int, Mapping[str, Mapping[str, float]]]] = []
        self.scored: list[tuple[str, list[str]]] = []

    def training_starts(self) -> None:
        assert not self.epochs
        self.starts += 1

    def epoch_ended(self, first: str, epoch: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
        self.epochs.append((first, epoch, metrics))

    def members_scored(self, first: str, summaries: Sequence[MemberSummary]) -> None:
        self.scored.append((first, [summary.name for summary in summaries]))


@pytest.fixture
def told(member: Any, tmp_path: Path) -> Any:
    """``told({option: value}, ...)``: what is told of members that are trained together, in one folder."""

    def run(*options: dict[str, Any]) -> Recorder:
        configs = [member(**each) for each in options]
        recorder = Recorder()
        adapt_all([Job(config, tmp_path / config.member_name) for config in configs], recorder)
        return recorder

    return run


def written(folder: Path) -> list[dict[str, float]]:
    """The lines of a member's metrics, without the time, and without what is not finite."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds" and v is not None} for line in lines]


def test_the_numbers_are_those_of_the_metrics(told: Any, tmp_path: Path) -> None:
    recorder = told({"val_split": "val"}, {"val_split": "val", "lr": 0.1, "side": "linear"})
    names = list(recorder.epochs[0][2])
    assert recorder.starts == 1
    assert [(first, epoch) for first, epoch, _ in recorder.epochs] == [
        (names[0], epoch) for epoch in range(3)
    ]
    for name in names:
        lines = [{"epoch": epoch, **metrics[name]} for _, epoch, metrics in recorder.epochs]
        assert lines == written(tmp_path / name)
        assert lines[0].keys() == {"epoch", "lr", "train_loss", "train_accuracy", "val_accuracy"}
    assert recorder.scored == [(names[0], names)]


def test_finished_members_are_not_told_again(told: Any) -> None:
    told({"seed": 1})
    recorder = told({"seed": 1}, {"seed": 2})
    assert [len(metrics) for _, _, metrics in recorder.epochs] == [1, 1, 1]
    assert all("seed2" in name for _, _, metrics in recorder.epochs for name in metrics)
    assert [len(names) for _, names in recorder.scored] == [1]
    again = told({"seed": 1}, {"seed": 2})
    assert (again.starts, again.epochs, again.scored) == (0, [], [])


def test_resumed_members_go_on_at_their_epoch(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Trainer.epoch

    def stopping(trainer: Trainer, number: int, *arguments: Any) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return whole(trainer, number, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "epoch", stopping)
        told({})
    assert [epoch for _, epoch, _ in told({}).epochs] == [2]


def test_a_pass_keeps_its_name_when_its_first_member_stops(told: Any) -> None:
    stopping = {"val_split": "val", "epochs": 8, "lr": 1e-9, "patience": 1}
    recorder = told(stopping, {"val_split": "val", "epochs": 8, "seed": 1})
    first = next(iter(recorder.epochs[0][2]))
    assert first not in recorder.epochs[-1][2]
    assert {name for name, _, _ in recorder.epochs} == {name for name, _ in recorder.scored} == {first}


def test_a_member_that_diverges_is_left_out(told: Any) -> None:
    recorder = told({"lr": 1e30, "norm": "none"}, {})
    (name,) = recorder.epochs[-1][2]
    assert "lr0.02" in name
    assert [names for _, names in recorder.scored] == [[name]]


def test_a_tracker_needs_a_listener(member: Any, tmp_path: Path) -> None:
    with pytest.raises(LosaError, match="tracker=wandb: expected a listener that tells it"):
        adapt_all([Job(member(tracker="wandb"), tmp_path / "a")])
    assert not (tmp_path / "a").exists()
