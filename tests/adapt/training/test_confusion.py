import json

import numpy as np
import pytest
import torch

from losa.adapt.training.confusion import MERGED_AT_ONCE, Confusion, ConfusionCounter, counting_bytes
from losa.adapt.training.working_set import peak_bytes

MIB = 2**20


def draw(members: int, images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(classes, (images,), generator=generator)
    return true, torch.randint(classes, (members, images), generator=generator)


def count(true: torch.Tensor, predicted: torch.Tensor, classes: int, batch: int) -> list[Confusion]:
    counter = ConfusionCounter(len(predicted), classes, "cpu")
    for start in range(0, len(true), batch):
        counter.add(true[start : start + batch], predicted[:, start : start + batch])
    return counter.result()


def test_images_without_a_label_do_not_count() -> None:
    true, predicted = torch.tensor([-1, 2, 0, -1]), torch.tensor([[0, 2, 1, 2], [1, 0, 0, 2]])
    known = true >= 0
    expected = count(true[known], predicted[:, known], 3, 1)
    for batch in (1, 3, 4):
        for mine, theirs in zip(count(true, predicted, 3, batch), expected, strict=True):
            assert mine.to_json() == theirs.to_json()


@pytest.mark.parametrize(("images", "classes", "batch"), [(0, 3, 1), (1, 3, 1), (500, 7, 50), (500, 90, 33)])
def test_is_that_of_plain_numpy(images: int, classes: int, batch: int) -> None:
    true, predicted = draw(3, images, classes)
    for mine, member in zip(count(true, predicted, classes, batch), predicted, strict=True):
        expected = np.zeros((classes, classes), np.int64)
        np.add.at(expected, (true.numpy(), member.numpy()), 1)
        found = np.zeros_like(expected)
        found[mine.true, mine.predicted] = mine.counts
        np.testing.assert_array_equal(found, expected)
        assert (mine.counts > 0).all()
        assert mine.to_json() == sorted(mine.to_json())
        assert (mine.images, mine.correct) == (images, np.trace(expected))


def test_counts_of_many_batches_are_merged_on_the_way() -> None:
    images = MERGED_AT_ONCE + 1
    true = torch.zeros(images, dtype=torch.int64)
    (found,) = count(true, torch.ones(1, images, dtype=torch.int64), 2, images // 4)
    assert found.to_json() == [[0, 1, images]]


def test_sixteen_members_and_ten_thousand_classes_take_little_memory() -> None:
    true, predicted = draw(16, 20_000, 10_000)
    peak = peak_bytes(lambda: count(true, predicted, 10_000, 100), "cpu")
    assert peak < 16 * counting_bytes(20_000, 10_000) == 16 * 96 * 20_000 < 32 * MIB
    found = count(true, predicted, 10_000, 100)
    assert max(len(json.dumps(each.to_json())) for each in found) < MIB


def test_few_classes_bound_the_memory() -> None:
    assert counting_bytes(10**6, 10) == counting_bytes(100, 10)
