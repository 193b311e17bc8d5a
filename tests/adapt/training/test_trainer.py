"""The trainer of a pass: epochs, scores, micro-batches. That company changes nothing: `test_company`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from losa.adapt import (
    AdaptConfig,
    FrozenFeatures,
    LabelledActivations,
    LabelledImages,
    MemberEpoch,
    Trainer,
    make_group,
)
from losa.adapt.data.mixup import draw_mix
from losa.adapt.data.order import shuffled_batches
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.adapt.training.losses import make_objective
from losa.adapt.training.schedule import warmup_cosine

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

KINDS = tuple(SIDE_NETWORKS)


@pytest.fixture
def make_trainer(make_config: Any, make_features: Any, toy_data: Any) -> Callable[..., Trainer]:
    """``make_trainer(side, seeds, data, micro_batch_size, **options)``: members of one group, on toy data."""

    def make(
        side: str,
        seeds: tuple[int, ...] = (0,),
        data: LabelledActivations | None = None,
        micro_batch_size: int | None = None,
        **options: Any,
    ) -> Trainer:
        defaults = {"side": side, "rank": 4, "heads": 2, "epochs": 4, "batch_size": 8, "lr": 0.02}
        configs: list[AdaptConfig] = [make_config(**(defaults | options | {"seed": seed})) for seed in seeds]
        features = make_features()
        data = data or toy_data(features)
        classes = [3] * data.images.labels.shape[1]
        objective = make_objective(classes, data.images.labels, balanced=False, device="cpu")
        group = make_group(range(len(seeds)), configs, features, sum(classes), "cpu")
        return Trainer([group], data, objective, configs[0], micro_batch_size=micro_batch_size)

    return make


def train(trainer: Trainer, epochs: int = 4) -> list[dict[int, MemberEpoch]]:
    return [trainer.epoch(number) for number in range(epochs)]


def parameters(trainer: Trainer, member: int = 0) -> dict[str, torch.Tensor]:
    (group,) = (group for group in trainer.groups if member in group.numbers)
    return {
        name: value for name, value in group.member_state(member).items() if name.startswith("parameter.")
    }


@pytest.mark.parametrize("side", KINDS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_losses_go_down(
    side: str, optimizer: str, make_trainer: Any, toy_data: Any, make_features: Any
) -> None:
    lr = {"adamw": 0.05, "sgd": 0.2 if side == "linear" else 0.1}[optimizer]
    trainer = make_trainer(side, (0, 1), optimizer=optimizer, lr=lr, epochs=8, rank=8)
    found = train(trainer, 8)
    for member, scores in trainer.evaluate(toy_data(make_features(), images=60, seed=1)).items():
        assert found[-1][member].train_loss < 0.5 * found[0][member].train_loss
        assert scores[0].accuracy > 0.9


def test_results_of_an_epoch(make_trainer: Any) -> None:
    trainer = make_trainer("losa", (0, 1, 2), epochs=3, warmup=0.25)
    found = train(trainer, 3)
    assert trainer.steps == 4 * 3  # the last of the four batches has six of the thirty images
    for epoch, members in enumerate(found):
        assert list(members) == [0, 1, 2]
        for each in members.values():
            assert each.epoch == epoch
            assert each.step_losses.shape == (4,)
            assert each.lr == pytest.approx(0.02 * warmup_cosine(4 * epoch + 3, 12, 0.25))
            assert each.train_loss == pytest.approx(each.step_losses.mean())
            assert each.finite
            assert 0 <= each.train_accuracy <= 1
    assert found[0][0].step_losses[0] == pytest.approx(np.log(3), abs=0.2)
    assert found[2][0].train_accuracy > found[0][0].train_accuracy


@pytest.mark.parametrize("side", [side for side in KINDS if "probe_share" in SIDE_NETWORKS[side].options])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_probe_and_the_layers_beside_it_are_what_each_is_alone(
    side: str, optimizer: str, make_trainer: Any, toy_data: Any, make_features: Any
) -> None:
    options = {"optimizer": optimizer, "mixup": 0.4, "label_smoothing": 0.1, "start": "first"}
    both, layers, probe = (
        make_trainer(kind, (0, 1), probe_share=share, dropout=0.3, **options)
        for kind, share in ((side, 0.25), (side, 0.0), ("linear", 0.0))
    )
    found, of_layers, of_probe = (train(trainer) for trainer in (both, layers, probe))
    for member in (0, 1):
        expected = parameters(layers, member) | {
            name.replace("head", "probe"): value for name, value in parameters(probe, member).items()
        }
        assert parameters(both, member).keys() == expected.keys()
        for name, value in parameters(both, member).items():
            assert torch.equal(value, expected[name]), name
        for epoch in range(4):
            mean = 0.75 * of_layers[epoch][member].step_losses + 0.25 * of_probe[epoch][member].step_losses
            np.testing.assert_allclose(found[epoch][member].step_losses, mean, rtol=1e-5)
    features = FrozenFeatures(toy_data(make_features()).source.read(np.arange(5)).decode(slice(5)))
    scores, of_layers, of_probe = (trainer.groups[0].network(features) for trainer in (both, layers, probe))
    torch.testing.assert_close(scores, 0.75 * of_layers + 0.25 * of_probe)


def test_the_accuracy_while_training(make_trainer: Any) -> None:
    trainer = make_trainer("linear", lr=1e-30, data=None)
    (expected,) = trainer.evaluate(trainer._data)[0]
    assert trainer.epoch(0)[0].train_accuracy == pytest.approx(expected.accuracy)


@pytest.mark.parametrize("side", KINDS)
def test_the_same_training_twice(side: str, make_trainer: Any) -> None:
    options = {"dropout": 0.3, "mixup": 0.4}
    first = make_trainer(side, **options)
    losses = [epoch[0].step_losses.tolist() for epoch in train(first)]
    torch.manual_seed(5)
    second = make_trainer(side, **options)
    assert [epoch[0].step_losses.tolist() for epoch in train(second)] == losses
    for name, value in parameters(first).items():
        assert torch.equal(value, parameters(second)[name]), name


def test_an_epoch_depends_on_its_number_alone(make_trainer: Any) -> None:
    """Parameters and the optimiser's state are all that one epoch hands to the next."""
    options = {"dropout": 0.3, "mixup": 0.4}
    first, second = make_trainer("losa", (0, 1), **options), make_trainer("losa", (0, 1), **options)
    train(first, 2)
    for number in (0, 1):
        second.groups[0].load_member_state(number, first.groups[0].member_state(number))
    for epoch in (2, 3):
        mine, theirs = first.epoch(epoch), second.epoch(epoch)
        assert mine[1].step_losses.tolist() == theirs[1].step_losses.tolist()
    for name, value in parameters(first, 1).items():
        assert torch.equal(value, parameters(second, 1)[name]), name


@pytest.mark.parametrize("option", ["data_seed", "seed"])
def test_both_seeds_matter(option: str, make_trainer: Any) -> None:
    def losses(value: int) -> list[float]:
        seeds = (value if option == "seed" else 0,)
        trainer = make_trainer("losa", seeds, data_seed=value if option == "data_seed" else 0)
        return trainer.epoch(0)[0].step_losses.tolist()

    assert losses(0) != losses(1)


@pytest.mark.parametrize("side", KINDS)
def test_micro_batches_give_the_gradients_of_the_whole(side: str, make_trainer: Any) -> None:
    options = {"norm": "frozen", "batch_size": 30, "epochs": 2, "dropout": 0.3, "mixup": 0.4}
    # Not AdamW, which makes a large step of a tiny gradient.
    options |= {"label_smoothing": 0.1, "bias": True, "optimizer": "sgd"}
    losses, gradients = [], []
    for micro_batch_size in (30, 1, 7):
        trainer = make_trainer(side, (0, 1), micro_batch_size=micro_batch_size, **options)
        train(trainer, 1)  # one step; updates start at zero
        found = trainer.epoch(1)
        losses.append([found[number].step_losses for number in (0, 1)])
        network = trainer.groups[0].network
        gradients.append({name: value.grad for name, value in network.named_parameters()})
    for other in (1, 2):
        np.testing.assert_allclose(losses[other], losses[0], rtol=1e-5)
        for name, value in gradients[0].items():
            assert value.abs().max() > 0
            torch.testing.assert_close(gradients[other][name], value, rtol=1e-4, atol=1e-6)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("scoring", [False, True])
def test_memory_that_runs_out_halves_the_micro_batch(
    scoring: bool, error: Exception, make_trainer: Any, make_features: Any, toy_data: Any, monkeypatch: Any
) -> None:
    def run(trainer: Trainer) -> Any:
        if scoring:
            return trainer.evaluate(toy_data(make_features(), images=8))[0][0].accuracy  # type: ignore[index]
        return trainer.epoch(0)[0].step_losses

    expected = run(make_trainer("losa", micro_batch_size=8))
    trainer = make_trainer("losa", micro_batch_size=8)
    branches, seen = trainer.groups[0].network.branches, []

    def small(features: FrozenFeatures, dropout: Any = None) -> torch.Tensor:
        seen.append(len(features.activations))
        if seen[-1] > 2:
            raise error
        return branches(features, dropout)

    monkeypatch.setattr(trainer.groups[0].network, "branches", small)
    np.testing.assert_allclose(run(trainer), expected, rtol=1e-5)
    assert seen[:3] == [8, 4, 2]
    assert max(seen[3:]) == 2
    # Scoring with smaller parts does not change how the training rounds.
    assert trainer.micro_batch_sizes == ([8] if scoring else [8, 4, 2])


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_an_image_that_does_not_fit_is_an_error(
    error: Exception, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("losa", micro_batch_size=8)

    def never(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(trainer.groups[0].network, "branches", never)
    with pytest.raises(type(error)):
        trainer.epoch(0)


def test_another_error_is_not_taken_for_it(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer("losa", micro_batch_size=8)
    seen = []

    def wrong(*arguments: object) -> None:
        seen.append(arguments)
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(trainer.groups[0].network, "branches", wrong)
    with pytest.raises(RuntimeError, match="shapes"):
        trainer.epoch(0)
    assert len(seen) == 1


def test_positions_choose_images_of_the_source(make_features: Any, toy_data: Any) -> None:
    data = toy_data(make_features())
    chosen = replace(data, images=LabelledImages(data.images.positions[5:9], data.images.labels[5:9]))
    (found,) = chosen.read([np.array([3, 0])])
    expected = data.source.read(np.array([8, 5]))
    assert torch.equal(found.decode(slice(None)), expected.decode(slice(None)))
    assert len(chosen) == 4


@pytest.mark.parametrize("size", [1, 3, 10, 50])
def test_every_image_is_scored_once(size: int, make_trainer: Any, make_features: Any, toy_data: Any) -> None:
    trainer = make_trainer("linear", (0, 1), batch_size=size, micro_batch_size=2)
    network = trainer.groups[0].network
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(100 * torch.eye(3)[:2])
    # Member 0 says class 0 to everything, member 1 class 1: labels 0 to 2 in turn are 4, 3 and 3 of ten.
    found = trainer.evaluate(toy_data(make_features(), images=10))
    assert [found[number][0].accuracy for number in (0, 1)] == [0.4, 0.3]
    assert found[0][0].confusion.to_json() == [[0, 0, 4], [1, 0, 3], [2, 0, 3]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_none(value: float, make_trainer: Any) -> None:
    trainer = make_trainer("linear", (0, 1))
    with torch.no_grad():
        trainer.groups[0].network.head.bias[1, 2] = value
    found = trainer.evaluate(trainer._data)
    assert found[1] is None
    assert found[0] is not None
    epoch = trainer.epoch(0)
    assert (epoch[0].finite, epoch[1].finite) == (True, False)


def test_those_that_are_kept_go_on(make_trainer: Any) -> None:
    alone, trainer = make_trainer("losa", (2,)), make_trainer("losa", (0, 1, 2))
    train(alone)
    train(trainer, 2)
    trainer.keep([2])
    assert list(trainer.epoch(2)) == list(trainer.epoch(3)) == [2]
    for name, value in parameters(alone).items():
        torch.testing.assert_close(parameters(trainer, 2)[name], value, rtol=0, atol=1e-5)
    trainer.keep([])
    assert trainer.groups == []


def test_labels_that_are_missing(make_trainer: Any, make_features: Any, toy_data: Any) -> None:
    """A column trains its own rows of the head; images without a label in it do not count there."""
    data = toy_data(make_features())
    second = np.where(np.arange(len(data)) % 2, -1, (data.images.labels[:, 0] + 1) % 3)
    both = np.stack([data.images.labels[:, 0], second], axis=1)
    trainer = make_trainer("linear", data=replace(data, images=replace(data.images, labels=both)), lr=0.3)
    epochs = train(trainer)
    scores = trainer.evaluate(trainer._data)[0]
    assert [each.images for each in scores] == [30, 15]
    assert all(each.accuracy == 1 for each in scores)
    assert epochs[0][0].step_losses[0] == pytest.approx(2 * np.log(3), abs=0.4)


class TestMixup:
    def test_losses_are_those_of_mixed_images(self, make_trainer: Any) -> None:
        trainer = make_trainer("linear", mixup=0.4, lr=1e-30, micro_batch_size=3)
        network, data = trainer.groups[0].network, trainer._data
        found = trainer.epoch(1)[0]
        batches = shuffled_batches(30, 8, 0, 1)
        for step, rows in enumerate(batches):
            mix = draw_mix(len(rows), 0.4, 0, 4 + step)
            assert mix is not None
            images, labels = data.source.activations[rows], torch.from_numpy(data.images.labels[rows, 0])
            mixed = mix.share * images + (1 - mix.share) * images[mix.partner]
            scores = network(FrozenFeatures(mixed))[0]
            losses = [
                torch.nn.functional.cross_entropy(scores, each) for each in (labels, labels[mix.partner])
            ]
            expected = mix.share * losses[0] + (1 - mix.share) * losses[1]
            assert found.step_losses[step] == pytest.approx(expected.item(), rel=1e-5)
        assert np.isnan(found.train_accuracy)

    def test_the_images_themselves_stay(self, make_trainer: Any) -> None:
        trainer = make_trainer("losa", mixup=0.4)
        before = trainer._data.source.activations.clone()
        train(trainer, 1)
        assert torch.equal(trainer._data.source.activations, before)


def test_bfloat16_is_close_to_float32(make_trainer: Any) -> None:
    for norm in ("frozen", "layer"):
        exact, rough = (
            [epoch[0].step_losses for epoch in train(make_trainer("losa", norm=norm, dtype=dtype))]
            for dtype in ("float32", "bfloat16")
        )
        np.testing.assert_allclose(rough, exact, rtol=0, atol=0.03)
        assert np.abs(np.subtract(rough, exact)).max() > 0


def test_parameters_stay_in_float32(make_trainer: Any) -> None:
    trainer = make_trainer("losa", dtype="bfloat16")
    train(trainer, 1)
    assert {value.dtype for value in trainer.groups[0].member_state(0).values()} == {torch.float32}


def test_micro_batches_are_decoded_into_the_same_memory(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("losa", micro_batch_size=3, mixup=0.4)
    network, places = trainer.groups[0].network, set()
    branches = network.branches

    def seen(features: FrozenFeatures, dropout: Any = None) -> torch.Tensor:
        places.add(features.activations.data_ptr())
        return branches(features, dropout)

    monkeypatch.setattr(network, "branches", seen)
    train(trainer, 2)
    assert len(places) == 1


def test_freed_memory_is_kept_while_an_epoch_is_trained_or_scored(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    @contextmanager
    def kept(device: str) -> Iterator[None]:
        events.append(f"kept on {device}")
        yield
        events.append("given back")

    monkeypatch.setattr("losa.adapt.training.trainer.freed_memory_kept", kept)
    trainer = make_trainer("linear")
    trainer.epoch(0, lambda images: events.append(f"{images} images"))
    assert events == ["kept on cpu", *["8 images"] * 3, "6 images", "given back"]
    events.clear()
    trainer.evaluate(trainer._data, lambda: events.append("batch"))
    assert events == ["kept on cpu", *["batch"] * 4, "given back"]


def test_the_micro_batch_size_is_found_without_a_trace(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("losa.adapt.training.working_set.CPU_MICRO_BATCH_BYTES", 20_000)
    found, given = make_trainer("losa", dropout=0.3), make_trainer("losa", dropout=0.3, micro_batch_size=8)
    assert 1 <= found.micro_batch_size < 8
    assert all(value.grad is None for value in found.groups[0].network.parameters())
    np.testing.assert_allclose(
        found.epoch(0)[0].step_losses, given.epoch(0)[0].step_losses, rtol=1e-5, atol=1e-6
    )
