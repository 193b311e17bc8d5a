"""Comparisons over data sets: a learning rate is chosen, and a kill costs no more than a training."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from losa.adapt import AdaptConfig
from losa.cache_format import LosaError
from losa.pipelines.bench.live import trainings
from losa.pipelines.bench.live.comparison import DEFAULT_RANK, LiveComparison
from losa.pipelines.bench.live.training import Diverged, TrainingOptions
from losa.pipelines.bench.live.training import train as really_train

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


@pytest.fixture
def comparison(data_sets, tmp_path):
    return LiveComparison(
        data=[str(data_sets / "leaves")],
        out=str(tmp_path / "out"),
        backbone="test_vit",
        pretrained=False,
        methods=["linear"],
        lrs=[1e-2],
        training=TrainingOptions(epochs=2, batch=8),
        device="cpu",
    )


@pytest.fixture
def trained(monkeypatch):
    """The trainings that are done, not found: split, learning rate and seed."""
    done = []

    def train(model, data, split, options, *, lr, seed, **others):
        result = really_train(model, data, split, options, lr=lr, seed=seed, **others)
        done.append((split, lr, seed))
        return result

    monkeypatch.setattr(trainings, "train", train)
    return done


def test_the_best_rate_on_the_validation_split_is_trained_for_each_seed_and_tested(
    comparison, trained, monkeypatch
):
    accuracies = {1e-3: 0.5, 3e-3: 0.75, 1e-2: 0.75}
    scored = []

    def score(model, data, split, options, device):
        scored.append(split)
        return accuracies[trained[-1][1]] if split == "val200" else 0.5 + trained[-1][2] / 10

    monkeypatch.setattr(trainings, "score", score)
    (row,) = replace(comparison, lrs=list(accuracies), seeds=[3, 1]).run()
    assert row["lr"] == 3e-3  # the first of equal ones
    assert trained == [
        *(("train800", lr, 3) for lr in accuracies),
        ("train800val200", 3e-3, 3),
        ("train800val200", 3e-3, 1),
    ]
    assert scored == ["val200"] * 3 + ["test"] * 2
    assert [candidate["accuracy"] for candidate in row["candidates"]] == [0.5, 0.75, 0.75]
    assert row["percent"] == pytest.approx({"mean": 70.0, "error": 10.0})
    seconds = [training["seconds"] for training in row["trainings"]]
    assert row["seconds"] == pytest.approx(np.mean(seconds))
    assert row["seconds_per_epoch"] == pytest.approx(np.mean(seconds) / 2)


def test_of_a_single_rate_nothing_is_chosen(comparison, trained):
    (row,) = comparison.run()
    assert trained == [("train800val200", 1e-2, 0)]
    assert row["candidates"] == []
    assert row["percent"]["error"] is None


def test_what_is_finished_is_not_trained_again(comparison, trained, data_sets):
    several = replace(comparison, lrs=[1e-3, 1e-2], data=[str(data_sets)])
    first = several.run()
    assert len(trained) == 6
    assert [row["set"] for row in first] == ["leaves", "stones"]
    assert several.run() == first
    assert len(trained) == 6
    replace(several, sets=["stones"], seeds=[0, 1]).run()
    assert trained[6:] == [("train800val200", first[1]["lr"], 1)]


def test_a_kill_costs_the_training_that_it_ends(comparison, trained, monkeypatch):
    def killed(*arguments, **options):
        if len(trained) == 2:
            raise KeyboardInterrupt
        return replaced(*arguments, **options)

    replaced = trainings.train
    with monkeypatch.context() as patch:
        patch.setattr(trainings, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            replace(comparison, lrs=[1e-3, 3e-3, 1e-2]).run()
    replace(comparison, lrs=[1e-3, 3e-3, 1e-2]).run()
    assert [lr for _, lr, _ in trained[:3]] == [1e-3, 3e-3, 1e-2]
    assert len(trained) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"methods": ["bitfit"]},
        {"lrs": [2e-2]},
        {"seeds": [1]},
        {"training": TrainingOptions(epochs=1, batch=8)},
        {"train_split": "train800"},
        {"test_split": "val200", "train_split": "train800"},
    ],
    ids=str,
)
def test_what_determines_a_training_makes_another_one(comparison, trained, change):
    comparison.run()
    replace(comparison, **change).run()
    assert len(trained) == 2


def test_other_pixels_under_the_same_names_make_another_training(comparison, trained, tmp_path, data_sets):
    copy = shutil.copytree(data_sets / "leaves", tmp_path / "leaves")
    here = replace(comparison, data=[str(copy)])
    comparison.run()
    here.run()
    assert len(trained) == 1  # a copy is the same data
    shutil.copy(copy / "test1.png", copy / "test0.png")
    here.run()
    assert len(trained) == 2


def test_a_rate_that_diverges_is_not_chosen_nor_tried_again(comparison, trained, monkeypatch):
    calls = []

    def train(model, data, split, options, *, lr, **others):
        calls.append(lr)
        if lr > 0.5:
            raise Diverged("the loss became NaN")
        return really_train(model, data, split, options, lr=lr, **others)

    monkeypatch.setattr(trainings, "train", train)
    (row,) = replace(comparison, lrs=[1.0, 1e-2]).run()
    assert row["lr"] == 1e-2
    assert row["candidates"][0]["accuracy"] is None
    replace(comparison, lrs=[1.0, 1e-2]).run()
    assert calls == [1.0, 1e-2, 1e-2]
    with pytest.raises(LosaError, match="leaves, linear: with every --lr the loss became NaN or infinite"):
        replace(comparison, lrs=[1.0, 2.0]).run()
    with pytest.raises(LosaError, match="leaves, linear: with --lr 1 the loss of a seed became NaN"):
        replace(comparison, lrs=[1.0]).run()


def test_a_damaged_record_is_told(comparison, tmp_path):
    comparison.run()
    (record,) = (tmp_path / "out").iterdir()
    assert record.name.startswith("leaves-linear-lr0.01-seed0-test-")
    record.write_text(record.read_text().replace("accuracy", "accurcay", 1))
    with pytest.raises(LosaError, match="Remove the file, and the training is done again"):
        comparison.run()


def test_ranks_come_near_to_a_number_of_parameters(comparison, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.setattr(trainings, "train", lambda *_, **__: {"seconds": 1.0, "seconds_per_epoch": 0.5})
    monkeypatch.setattr(trainings, "score", lambda *_: 0.5)
    near = replace(comparison, methods=["lora", "adapter", "bitfit"], parameters=10_000)
    lora, adapter, bitfit = near.run()
    assert bitfit["rank"] is None
    for row in (lora, adapter):
        of_method = replace(comparison, methods=[row["method"]])
        (below,), (above,) = (replace(of_method, rank=row["rank"] + step).run() for step in (-1, 1))
        difference = abs(row["parameters"] - 10_000)
        assert difference <= min(abs(other["parameters"] - 10_000) for other in (below, above))
    (default,) = replace(comparison, methods=["lora"]).run()
    assert default["rank"] == DEFAULT_RANK


def test_splits_that_share_images_are_refused(comparison):
    with pytest.raises(LosaError, match="8 of 8 images of val200 are also in train800val200"):
        replace(comparison, test_split="val200").run()
    with pytest.raises(LosaError, match="8 of 8 images of val200 are also in train800val200"):
        replace(comparison, lrs=[1e-2, 1e-3], select_train_split="train800val200").run()


def test_the_defaults_of_training_are_those_of_losa_adapt():
    adapt, live = AdaptConfig(cache="any"), TrainingOptions()
    for name in ("epochs", "warmup", "dtype"):
        assert getattr(live, name) == getattr(adapt, name)
    assert live.batch == adapt.batch_size
    assert live.decay("lora", 2e-3, 1000) == replace(adapt, lr=2e-3).weight_decay_over(400)


def test_a_default_is_the_same_training_as_its_value(comparison, trained):
    comparison.run()
    decay = comparison.training.decay("linear", 1e-2, 24)
    replace(comparison, training=replace(comparison.training, weight_decay=decay)).run()
    assert len(trained) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["lorra"]}, r"--method lorra: expected one of lora, .* did you mean 'lora'"),
        ({"rank": 8, "parameters": 1000}, "--rank and --parameters: expected one of them"),
        ({"rank": 0}, "--rank 0: expected at least 1"),
        ({"parameters": -1}, "--parameters -1: expected at least 1"),
        ({"lrs": [1e-3, 0.0]}, "--lr 0: expected more than 0"),
        ({"lrs": [float("nan")]}, "--lr nan: expected more than 0"),
        ({"seeds": [1, 1]}, "--seed 1 --seed 1: expected each value once"),
        ({"seconds": 0}, "--seconds 0: expected more than 0"),
    ],
)
def test_wrong_options_are_refused(comparison, options, message):
    with pytest.raises(LosaError, match=message):
        replace(comparison, **options)


def test_the_command_trains_and_shows(command, tmp_path, data_sets):
    pytest.importorskip("peft")
    options = (
        "--backbone test_vit --no-pretrained --rank 2 --epochs 4 --batch 8 --lr 1e-2 --device cpu "
        "--method lora --method bitfit --method adapter --method linear --seed 0 --seed 1 --out out"
    )
    arguments = ["losa-bench", "live", str(data_sets), "--set", "stones", *options.split()]
    done = command(tmp_path, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert [row["method"] for row in content["rows"]] == ["lora", "bitfit", "adapter", "linear"]
    for row in content["rows"]:
        assert row["set"] == "stones"
        assert row["percent"]["mean"] > 80
    assert content["settings"]["training"]["epochs"] == 4
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    shown = command(tmp_path, *arguments).stdout
    assert "bitfit" in shown
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == files
