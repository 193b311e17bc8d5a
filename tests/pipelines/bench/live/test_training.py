"""Training through a live toy transformer: it learns, repeats itself, and agrees with the linear probe."""

import copy
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from losa.adapt import AdaptConfig, adapt
from losa.cache_format import LosaError
from losa.extract import BackboneConfig, DatasetConfig, ExtractConfig, extract
from losa.extract.loader import ImageLoader
from losa.pipelines.bench.live.data import LiveData
from losa.pipelines.bench.live.methods import make_model
from losa.pipelines.bench.live.training import (
    FULL_WEIGHT_DECAY,
    Diverged,
    TrainingOptions,
    TrainingStep,
    score,
    train,
)

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

OPTIONS = TrainingOptions(epochs=3, batch=8)


@pytest.fixture(scope="module")
def data(data_sets, backbone):
    return LiveData(data_sets / "leaves", ["train800val200", "test"], backbone.preprocessing)


def make(method, backbone, seed=0):
    model = copy.deepcopy(backbone.model)
    return make_model(method, model, rank=2, targets=["qkv"], num_classes=2, seed=seed)


def trained(model, data, options=OPTIONS, **others):
    arguments = {"lr": 1e-2, "seed": 0, "device": "cpu", "seconds": 600.0, "description": "test"} | others
    decay = options.decay("linear", arguments["lr"], len(data.labels("train800val200")))
    return train(model, data, "train800val200", options, weight_decay=decay, **arguments)


def test_the_live_head_is_the_linear_probe_of_the_cache(data, backbone, data_sets, tmp_path):
    cache = str(tmp_path / "cache")
    extract(
        ExtractConfig(
            dataset=DatasetConfig(kind="lists", name="lists", root=str(data_sets / "leaves")),
            backbone=BackboneConfig(name="test_vit", pretrained=False),
            cache=cache,
            sites=1,
            codec="float32",
            workers=0,
            device="cpu",
        )
    )
    config = AdaptConfig(
        cache=cache, side="linear", epochs=3, batch_size=8, lr=1e-2, seed=5, data_seed=5, device="cpu"
    )
    cached = adapt(config, tmp_path / "member")
    model = make("linear", backbone, seed=5)
    live = trained(model, data, seed=5)
    assert live["train_loss"] == pytest.approx(cached.train_loss, rel=1e-4)
    assert score(model, data, "test", OPTIONS, "cpu") == cached.accuracy["test"]


@pytest.mark.parametrize("method", ["bitfit", "adapter"])
def test_a_seed_is_trained_the_same_again_and_learns(data, backbone, method):
    first, second = (make(method, backbone, seed=1) for _ in range(2))
    one, two = trained(first, data, seed=1), trained(second, data, seed=1)
    assert one["train_loss"] == two["train_loss"]
    assert one["seconds"] == pytest.approx(3 * one["seconds_per_epoch"])
    assert one["threads"] == 1
    assert score(first, data, "test", OPTIONS, "cpu") == score(second, data, "test", OPTIONS, "cpu") > 0.8
    frozen = [
        torch.equal(mine, theirs)
        for (name, mine), theirs in zip(
            first.named_parameters(), make(method, backbone, seed=1).parameters(), strict=True
        )
        if not mine.requires_grad
    ]
    assert frozen
    assert all(frozen)


def test_the_seconds_are_those_of_training_alone(data_sets, backbone, monkeypatch):
    clock = [0.0]
    load, batch = ImageLoader.load, LiveData.batch

    def passing(function, seconds):
        def call(*arguments):
            clock[0] += seconds
            return function(*arguments)

        return call

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(ImageLoader, "load", passing(load, 1000.0))
    monkeypatch.setattr(LiveData, "batch", passing(batch, 2.0))
    data = LiveData(data_sets / "leaves", ["train800val200"], backbone.preprocessing)
    found = trained(make("linear", backbone), data)
    assert found["seconds"] == 9 * 2.0
    assert found["seconds_per_epoch"] == 3 * 2.0


def test_weight_decay_spares_biases(data, backbone, monkeypatch):
    groups = []

    class Recorder(torch.optim.AdamW):
        def __init__(self, parameters, **options):
            groups.extend(parameters)
            super().__init__(parameters, **options)

    monkeypatch.setattr("losa.pipelines.bench.live.training.AdamW", Recorder)
    model = make("bitfit", backbone)
    trained(model, data, replace(OPTIONS, epochs=1, weight_decay=0.1))
    decayed, free = (group["params"] for group in groups)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [weight.ndim for weight in decayed] == [2]
    assert {weight.ndim for weight in free} == {1}


def test_only_full_fine_tuning_keeps_the_pretrained_weights_from_decaying():
    assert OPTIONS.decay("lora", 1e-2, 24) == AdaptConfig(cache="any", lr=1e-2).weight_decay_over(9)
    assert OPTIONS.decay("full", 1e-2, 24) == FULL_WEIGHT_DECAY
    assert replace(OPTIONS, weight_decay=0.5).decay("full", 1e-2, 24) == 0.5


@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_micro_batches_make_the_same_step(data, backbone, micro_batch):
    def step(**options):
        model = make("bitfit", backbone)
        take = TrainingStep(model, OPTIONS, lr=1e-2, weight_decay=0.0, steps=2, device="cpu", **options)
        batch = data.batch("train800val200", np.arange(8), "cpu")
        return [take(*batch), take(*batch)], model.head.weight

    (expected, weight), (found, other) = step(), step(micro_batch=micro_batch)
    assert [correct for _, correct in found] == [correct for _, correct in expected]
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in expected], rel=1e-4)
    torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-5)


def test_a_training_that_would_take_too_long_is_refused(data, backbone):
    with pytest.raises(LosaError, match=r"9 steps would take about \d+ s: expected at most 0.001"):
        trained(make("linear", backbone), data, seconds=1e-3)


def test_a_loss_that_is_no_number_ends_the_training(data, backbone):
    model = make("linear", backbone)
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))
    with pytest.raises(Diverged, match="in epoch 1"):
        trained(model, data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "--epochs 0: expected at least 1"),
        ({"batch": 0}, "--batch 0: expected at least 1"),
        ({"weight_decay": -0.1}, "--weight-decay -0.1: expected 0 or more"),
        ({"warmup": 1.0}, "--warmup 1.0: expected at least 0 and less than 1"),
        ({"dtype": "half"}, "--dtype half: expected one of float32, bfloat16"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(LosaError, match=message):
        TrainingOptions(**options)
