from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import AdaptConfig, MemberEpoch
from losa.adapt.members.member_files import Checkpoint
from losa.adapt.members.member_progress import MemberProgress, worse_half

SAVED = {
    "train_loss": 0.25,
    "best_epoch": 3,
    "best_accuracy": 0.75,
    "stopped_after": 6,
    "pruned": True,
}
"""Progress in a checkpoint of version 1. Its names are never edited."""


@pytest.fixture
def config(make_config: Callable[..., AdaptConfig]) -> AdaptConfig:
    """A member with a validation split and patience."""
    return make_config(val_split="val", patience=2)


def epoch_of(*losses: float) -> MemberEpoch:
    return MemberEpoch(epoch=4, lr=0.1, step_losses=np.array(losses), train_accuracy=0.5)


class TestCheckpoint:
    def test_of_version_1_is_read(self, config: AdaptConfig) -> None:
        state = {"parameter.a": torch.ones(2), "mean.a": torch.ones(2), "best.parameter.a": torch.zeros(2)}
        found = MemberProgress.from_checkpoint(config, Checkpoint(epoch=6, progress=SAVED, state=state))
        assert (found.train_loss, found.best_epoch, found.best_accuracy) == (0.25, 3, 0.75)
        assert (found.stopped_after, found.pruned, found.error) == (6, True, None)
        assert list(found.best_parameters) == ["parameter.a"]
        assert torch.equal(found.best_parameters["parameter.a"], torch.zeros(2))

    def test_round_trip(self, config: AdaptConfig) -> None:
        checkpoint = Checkpoint(epoch=6, progress=SAVED, state={"best.parameter.a": torch.zeros(2)})
        progress = MemberProgress.from_checkpoint(config, checkpoint)
        saved = progress.to_json()
        assert saved["threads"] == torch.get_num_threads()
        assert {name: saved[name] for name in SAVED} == SAVED
        assert MemberProgress.from_checkpoint(config, replace(checkpoint, progress=saved)) == progress

    def test_one_that_diverged(self, config: AdaptConfig) -> None:
        progress = MemberProgress(config, train_loss=1.0)
        progress.diverge("the loss became NaN")
        found = MemberProgress.from_checkpoint(
            config, Checkpoint(epoch=1, progress=progress.to_json(), state={})
        )
        assert (str(found.error), found.diverged) == (str(progress.error), True)
        assert not found.is_training

    def test_sizes_of_micro_batches_add_up(self, config: AdaptConfig) -> None:
        progress = MemberProgress(config)
        assert progress.micro_batch_sizes_with([8, 4]) == [8, 4]
        progress.micro_batch_sizes = [8, 4]
        assert progress.micro_batch_sizes_with([4, 2]) == [8, 4, 2]
        assert progress.micro_batch_sizes_with([3]) == [8, 4, 3]

    @pytest.mark.parametrize("name", SAVED)
    def test_every_field_is_required(self, name: str, config: AdaptConfig) -> None:
        saved = {key: value for key, value in SAVED.items() if key != name}
        with pytest.raises(KeyError, match=name):
            MemberProgress.from_checkpoint(config, Checkpoint(epoch=6, progress=saved, state={}))


class TestKeptAccuracy:
    """The accuracy that is told belongs to the parameters that are saved."""

    def test_with_patience_it_is_the_best(self, config: AdaptConfig) -> None:
        progress = MemberProgress(config)
        for epoch, accuracy in enumerate([0.5, 0.9, 0.7]):
            progress.record_validation(epoch, accuracy)
        assert progress.kept_accuracy == 0.9

    def test_without_patience_it_is_the_last(self, make_config: Any) -> None:
        progress = MemberProgress(make_config(val_split="val"))
        for epoch, accuracy in enumerate([0.5, 0.9, 0.7]):
            progress.record_validation(epoch, accuracy)
        assert (progress.kept_accuracy, progress.best_accuracy) == (0.7, 0.9)


class TestDivergence:
    def test_a_loss_that_is_not_finite_ends_the_training(self, config: AdaptConfig) -> None:
        progress = MemberProgress(config)
        progress.record_epoch(epoch_of(1.0, 2.0))
        assert (progress.is_training, progress.train_loss) == (True, 1.5)
        progress.record_epoch(epoch_of(1.0, float("inf")))
        assert not progress.is_training
        assert str(progress.error).startswith(
            f"{config.member_name}: the loss became NaN or infinite in epoch 4"
        )


class TestEarlyStopping:
    def test_equal_accuracies_are_no_improvement(self, config: AdaptConfig) -> None:
        progress = MemberProgress(config)
        found = [progress.record_validation(epoch, value) for epoch, value in enumerate([0.0, 0.5, 0.5, 0.4])]
        assert found == [True, True, False, False]
        assert (progress.best_epoch, progress.best_accuracy) == (1, 0.5)
        assert [progress.is_out_of_patience(epoch) for epoch in (1, 2, 3, 4)] == [False, False, True, True]

    def test_without_patience_nothing_is_stopped(self, make_config: Any) -> None:
        progress = MemberProgress(make_config(val_split="val"), best_epoch=0)
        assert not progress.is_out_of_patience(100)


class TestSuccessiveHalving:
    @pytest.mark.parametrize(
        ("scores", "dropped"),
        [([0.5], []), ([0.1, 0.2], [10]), ([0.2, 0.1, 0.3], [11]), ([0.5] * 4, [12, 13])],
    )
    def test_the_worse_half_rounded_down(
        self, scores: list[float], dropped: list[int], config: AdaptConfig
    ) -> None:
        members = {10 + i: MemberProgress(config, best_accuracy=score) for i, score in enumerate(scores)}
        assert worse_half(members) == dropped
