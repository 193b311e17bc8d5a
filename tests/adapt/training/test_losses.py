import numpy as np
import pytest
import torch
from torch.nn import functional

from losa.adapt.training.losses import Objective, make_objective

MEMBERS, IMAGES = 3, 11
SMOOTHING = torch.tensor([0.0, 0.1, 0.5])


def make_scores(classes: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(MEMBERS, IMAGES, classes, generator=generator, dtype=torch.float64)


def make_labels(*classes: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([rng.integers(count, size=IMAGES) for count in classes], axis=1)


def losses(objective: Objective, scores: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    targets = torch.from_numpy(labels)
    return objective.losses(scores, targets, objective.weights(targets), SMOOTHING)


def test_cross_entropy_of_torch_without_weights() -> None:
    labels, scores = make_labels(4), make_scores(4)
    found = losses(make_objective([4], labels, balanced=False, device="cpu"), scores, labels)
    expected = [
        functional.cross_entropy(each, torch.from_numpy(labels[:, 0]), label_smoothing=smoothing)
        for each, smoothing in zip(scores, SMOOTHING.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-6, atol=1e-6)


def test_weighted_mean_of_torch() -> None:
    labels, scores = make_labels(4), make_scores(4)
    objective = make_objective([4], labels, balanced=True, device="cpu")
    (weight,) = objective.class_weights
    # Without smoothing: with it torch weighs each term of the target by its class, losa by the image's own.
    expected = functional.cross_entropy(scores[0], torch.from_numpy(labels[:, 0]), weight)
    torch.testing.assert_close(losses(objective, scores, labels)[0], expected)


def test_over_an_epoch_a_rare_class_counts_as_much_as_a_common_one() -> None:
    labels = np.zeros((200, 1), np.int64)
    labels[[30, 130]] = 1  # 99 to 1: most batches have one class only
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(MEMBERS, 200, 3, generator=generator, dtype=torch.float64).requires_grad_()
    objective = make_objective([3], labels, balanced=True, device="cpu")
    batches = [slice(start, start + 10) for start in range(0, 200, 10)]
    found = sum(losses(objective, scores[:, batch], labels[batch]) for batch in batches) / len(batches)

    own = scores.detach().clone().requires_grad_()
    targets = torch.from_numpy(labels[:, 0])
    expected = torch.zeros(MEMBERS, dtype=torch.float64)
    for mine in (targets == 0, targets == 1):
        for member, smoothing in enumerate(SMOOTHING.tolist()):
            of_class = functional.cross_entropy(own[member, mine], targets[mine], label_smoothing=smoothing)
            expected[member] += of_class / 2
    torch.testing.assert_close(found, expected)
    weighted = functional.cross_entropy(own[0], targets, torch.tensor([100 / 198, 50, 0]).double())
    torch.testing.assert_close(found[0], weighted, rtol=1e-6, atol=1e-6)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(scores.grad, own.grad)


def test_gradients_are_those_of_torch() -> None:
    labels, scores = make_labels(4), make_scores(4).requires_grad_()
    losses(make_objective([4], labels, balanced=False, device="cpu"), scores, labels).sum().backward()
    own = scores.detach().clone().requires_grad_()
    for each, smoothing in zip(own, SMOOTHING.tolist(), strict=True):
        functional.cross_entropy(each, torch.from_numpy(labels[:, 0]), label_smoothing=smoothing).backward()
    torch.testing.assert_close(scores.grad, own.grad, rtol=1e-6, atol=1e-7)


def test_images_without_a_label_count_nothing() -> None:
    labels, scores = make_labels(4), make_scores(4)
    known = np.arange(IMAGES) % 3 > 0
    objective = make_objective([4], labels, balanced=False, device="cpu")
    found = losses(objective, scores, np.where(known[:, None], labels, -1))
    expected = losses(objective, scores[:, torch.from_numpy(known)], labels[known])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert (losses(objective, scores, np.full_like(labels, -1)) == 0).all()


def test_columns_add_up() -> None:
    labels, scores = make_labels(4, 2), make_scores(6)
    labels[::2, 1] = -1
    both = make_objective([4, 2], labels, balanced=True, device="cpu")
    expected = torch.zeros(MEMBERS, dtype=torch.float64)
    for place, part in enumerate((scores[..., :4], scores[..., 4:])):
        column = labels[:, place : place + 1]
        one = make_objective([part.shape[-1]], column, balanced=True, device="cpu")
        expected = expected + losses(one, part, column)
    torch.testing.assert_close(losses(both, scores, labels), expected, rtol=1e-6, atol=1e-6)
    assert [part.shape[-1] for part in both.split(scores)] == [4, 2]


@pytest.mark.parametrize("size", [1, 4, IMAGES])
def test_parts_of_a_batch_add_up(size: int) -> None:
    labels, scores = make_labels(4, 2), make_scores(6)
    labels[2:5] = -1
    objective = make_objective([4, 2], labels, balanced=True, device="cpu")
    targets = torch.from_numpy(labels)
    weights = objective.weights(targets)
    parts = [slice(start, start + size) for start in range(0, IMAGES, size)]
    found = sum(objective.losses(scores[:, part], targets[part], weights[part], SMOOTHING) for part in parts)
    torch.testing.assert_close(found, losses(objective, scores, labels), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("balanced", [False, True])
def test_weights_of_the_training_images_add_up_to_one(balanced: bool) -> None:
    labels = make_labels(4, 2)
    labels[::2, 1] = -1
    objective = make_objective([4, 2], labels, balanced=balanced, device="cpu")
    weights = objective.weights(torch.from_numpy(labels))
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(2).double())
    assert (weights[::2, 1] == 0).all()


def test_weights_of_a_batch_follow_from_the_training_images() -> None:
    labels = np.array([0, 0, 0, 1])[:, None]
    objective = make_objective([2], labels, balanced=True, device="cpu")
    for part, expected in (([0, 1], [1 / 3, 1 / 3]), ([2, 3], [1 / 3, 1])):
        assert objective.weights(torch.from_numpy(labels[part]))[:, 0].tolist() == pytest.approx(expected)


def test_balanced_classes_count_alike() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1, 3, 3, -1])[:, None]
    (weights,) = make_objective([5], labels, balanced=True, device="cpu").class_weights
    found = weights.numpy() * [5, 1, 0, 2, 0]
    np.testing.assert_allclose(found, [8 / 3, 8 / 3, 0, 8 / 3, 0], rtol=1e-6)  # the mean over images is one
    assert weights[2] == weights[4] == 0
    (even,) = make_objective([5], labels, balanced=False, device="cpu").class_weights
    assert even.tolist() == [1.0] * 5


def test_a_member_that_is_not_finite_spoils_no_other() -> None:
    labels, scores = make_labels(4), make_scores(4)
    objective = make_objective([4], labels, balanced=False, device="cpu")
    expected = losses(objective, scores, labels)
    scores[1, 3, 2] = float("inf")
    scores.requires_grad_()
    found = losses(objective, scores, labels)
    assert found.isfinite().tolist() == [True, False, True]
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    found.sum().backward()
    assert scores.grad is not None
    assert scores.grad[[0, 2]].isfinite().all()
