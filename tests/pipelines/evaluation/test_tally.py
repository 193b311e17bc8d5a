import numpy as np
import pytest
import torch
from sklearn import metrics

from losa.pipelines.evaluation.tally import BINS, Tally

CLASSES = 7


@pytest.fixture
def scores() -> torch.Tensor:
    """Class scores of two side networks for 60 images."""
    return 3 * torch.randn(2, 60, CLASSES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def labels() -> torch.Tensor:
    """Their labels; every fifth has none."""
    found = torch.randint(CLASSES, (60,), generator=torch.Generator().manual_seed(1))
    found[::5] = -1
    return found


def tally_of(scores: torch.Tensor, labels: torch.Tensor) -> Tally:
    tally = Tally(len(scores), CLASSES, "cpu")
    for rows in torch.arange(60).split(16):
        tally.add(scores[:, rows].log_softmax(-1), labels[rows])
    return tally


def calibration_error(probabilities: np.ndarray, true: np.ndarray) -> float:
    """The definition of Guo et al. (2017), bin by bin."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    total = 0.0
    for number in range(BINS):
        inside = (confidence > number / BINS) & (confidence <= (number + 1) / BINS)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_figures_are_those_of_scikit_learn(scores: torch.Tensor, labels: torch.Tensor) -> None:
    known = labels >= 0
    true = labels[known].numpy()
    for found, mine in zip(
        tally_of(scores, labels).result(), scores[:, known].softmax(-1).numpy(), strict=True
    ):
        predicted = mine.argmax(axis=1)
        assert found.images == len(true) == 48
        assert found.top1 == pytest.approx(metrics.accuracy_score(true, predicted))
        assert found.top5 == pytest.approx(
            metrics.top_k_accuracy_score(true, mine, k=5, labels=range(CLASSES))
        )
        assert found.mean_per_class == pytest.approx(metrics.balanced_accuracy_score(true, predicted))
        assert found.nll == pytest.approx(metrics.log_loss(true, mine, labels=range(CLASSES)))
        assert found.calibration_error == pytest.approx(calibration_error(mine, true))
        table = metrics.confusion_matrix(true, predicted, labels=range(CLASSES))
        assert found.confusion.to_json() == [[a, b, table[a, b]] for a, b in np.argwhere(table).tolist()]


def test_it_goes_on_from_a_state(scores: torch.Tensor, labels: torch.Tensor) -> None:
    begun = tally_of(scores, labels)
    other = Tally(2, CLASSES, "cpu")
    other.load_state({name: value.clone() for name, value in begun.state().items()})
    for tally in (begun, other):
        tally.add(scores[:, :9].log_softmax(-1), labels[:9])
    for one, two in zip(begun.result(), other.result(), strict=True):
        assert (one.top1, one.top5, one.nll, one.calibration_error) == (
            two.top1,
            two.top5,
            two.nll,
            two.calibration_error,
        )
        assert one.confusion.to_json() == two.confusion.to_json()


def test_scores_that_are_not_finite_have_no_figures(scores: torch.Tensor, labels: torch.Tensor) -> None:
    scores[1, 3, 2] = float("nan")
    good, bad = tally_of(scores, labels).result()
    assert good.top1 is not None
    assert (bad.top1, bad.nll, bad.images) == (None, None, 48)


def test_without_labels_there_are_no_figures(scores: torch.Tensor) -> None:
    found = tally_of(scores, torch.full((60,), -1)).result()
    assert [(each.top1, each.images) for each in found] == [(None, 0)] * 2
