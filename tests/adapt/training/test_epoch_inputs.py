"""Inputs of the steps of an epoch: the same however many are copied at once, and never those of all steps."""

from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import make_group
from losa.adapt.training import epoch_inputs
from losa.adapt.training.epoch_inputs import EpochInputs, StepInputs

LABELS = np.arange(18)[:, None] % 3
BATCHES = [np.arange(start, min(start + 4, 18)) for start in range(0, 18, 4)]
PLACES = ("here", "there")


@pytest.fixture
def make_inputs(make_config: Any, make_features: Any) -> Any:
    """``make_inputs(batches)``: inputs from step 7 on of a member with dropout and mixup."""

    def make(batches: list[np.ndarray]) -> EpochInputs:
        config = make_config(dropout=0.3, mixup=0.4)
        group = make_group([0], [config], make_features(), 3, "cpu")
        assert group.dropout_keys is not None
        for place in PLACES:
            group.dropout_keys.at(place, 0)
        return EpochInputs([group], LABELS, batches, config, first_step=7, all_steps=20, device="cpu")

    return make


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_they_do_not_depend_on_how_many_are_copied_at_once(
    at_once: int, make_inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[StepInputs] = list(make_inputs(BATCHES))
    monkeypatch.setattr(epoch_inputs, "STEPS_AT_ONCE", at_once)
    found: list[StepInputs] = list(make_inputs(BATCHES))
    assert [each.step for each in found] == [7, 8, 9, 10, 11]
    for one, other in zip(found, expected, strict=True):
        assert len(one.tensors) == 5
        for mine, theirs in zip(one.tensors, other.tensors, strict=True):
            assert torch.equal(mine, theirs)


def test_a_long_epoch_does_not_wait_for_the_inputs_of_all_its_steps(
    make_inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_inputs, "STEPS_AT_ONCE", 2)
    inputs = make_inputs(BATCHES)
    (group,) = inputs._groups
    made: list[range] = []
    numbers_of = group.numbers_of

    def spied(steps: range, all_steps: int) -> torch.Tensor:
        made.append(steps)
        return numbers_of(steps, all_steps)

    monkeypatch.setattr(group, "numbers_of", spied)
    steps = iter(inputs)
    first = next(steps)
    assert made == [range(7, 9)]
    assert first.dropout_keys[0].shape == (len(PLACES), 1)
    assert group.dropout_keys._table.shape == (2, len(PLACES), 1)
    assert len(list(steps)) == 4
    assert made == [range(7, 9), range(9, 11), range(11, 12)]


def test_an_epoch_may_have_no_steps_left(make_inputs: Any) -> None:
    assert list(make_inputs([])) == []
