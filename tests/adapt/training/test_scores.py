import numpy as np
import pytest
import torch

from losa.adapt.training.confusion import Confusion
from losa.adapt.training.scores import ScoreKeeper, Scores, mean_accuracy

MEMBERS, IMAGES = 2, 40


def gather(
    scores: torch.Tensor, labels: np.ndarray, classes: list[int], size: int = 7
) -> list[list[Scores] | None]:
    keeper = ScoreKeeper(len(scores), classes, "cpu")
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        keeper.add(scores[:, part].split(classes, dim=-1), torch.from_numpy(labels[part]))
    return keeper.result()


def dense(scores: Scores, classes: int) -> np.ndarray:
    cells = np.zeros((classes, classes), np.int64)
    cells[scores.confusion.true, scores.confusion.predicted] = scores.confusion.counts
    return cells


def make_scores(classes: int) -> torch.Tensor:
    return torch.randn(MEMBERS, IMAGES, classes, generator=torch.Generator().manual_seed(0))


def make_labels(classes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-1, classes, size=(IMAGES, 1))


@pytest.mark.parametrize("classes", [2, 3, 5, 9])
def test_are_those_of_plain_numpy(classes: int) -> None:
    scores, labels = make_scores(classes), make_labels(classes)
    known = labels[:, 0] >= 0
    assert 0 < known.sum() < IMAGES
    for member, found in enumerate(gather(scores, labels, [classes])):
        assert found is not None
        mine, true = scores[member].numpy()[known], labels[known, 0]
        predicted = mine.argmax(axis=1)
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (true, predicted), 1)
        best = np.argsort(-mine, axis=1)[:, :5]
        np.testing.assert_array_equal(dense(found[0], classes), confusion)
        assert found[0].images == known.sum()
        assert found[0].accuracy == pytest.approx((predicted == true).mean())
        assert found[0].top5_accuracy == pytest.approx((best == true[:, None]).any(axis=1).mean())
        per_class = [(predicted == true)[true == label].mean() for label in np.unique(true)]
        assert found[0].mean_per_class == pytest.approx(np.mean(per_class))


@pytest.mark.parametrize("classes", [2, 5])
def test_of_five_classes_or_fewer_the_right_one_is_among_the_best_five(classes: int) -> None:
    for found in gather(make_scores(classes), make_labels(classes), [classes]):
        assert found is not None
        assert found[0].top5_accuracy == 1


def test_the_size_of_batches_does_not_matter() -> None:
    scores, labels = make_scores(6), make_labels(6)
    for first, second in zip(gather(scores, labels, [6], 7), gather(scores, labels, [6], 40), strict=True):
        assert first is not None
        assert second is not None
        assert first[0].confusion.to_json() == second[0].confusion.to_json()
        assert first[0].top5_correct == second[0].top5_correct


def test_columns_are_scored_apart() -> None:
    scores, labels = make_scores(7), np.concatenate([make_labels(3), make_labels(4)[::-1]], axis=1)
    for member, found in enumerate(gather(scores, labels, [3, 4])):
        for place, part in enumerate((scores[..., :3], scores[..., 3:])):
            alone = gather(part, labels[:, place : place + 1], [3 + place])[member]
            assert found is not None
            assert alone is not None
            assert found[place].confusion.to_json() == alone[0].confusion.to_json()
        assert mean_accuracy(found) == pytest.approx((found[0].accuracy + found[1].accuracy) / 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("image", [0, IMAGES - 1])
def test_a_member_whose_scores_are_not_finite_has_none(value: float, image: int) -> None:
    scores, labels = make_scores(3), make_labels(3)
    expected = gather(scores, labels, [3])[0]
    scores[1, image, 2] = value
    found = gather(scores, labels, [3])
    assert found[1] is None
    assert found[0] is not None
    assert expected is not None
    assert found[0][0].confusion.to_json() == expected[0].confusion.to_json()


def test_classes_without_images_do_not_count() -> None:
    true, predicted, counts = np.array([[0, 0, 3], [0, 1, 1], [2, 0, 2], [2, 2, 2]]).T
    found = Scores(confusion=Confusion(true=true, predicted=predicted, counts=counts), top5_correct=8)
    assert (found.images, found.accuracy, found.mean_per_class) == (8, 5 / 8, (3 / 4 + 2 / 4) / 2)
