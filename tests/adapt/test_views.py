"""Training on several views of each image."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losa.adapt import Job, LabelledActivations, MemberSummary, Trainer, adapt, adapt_all
from losa.adapt.data.activations import CachedActivations
from losa.cache_format import Cache, LosaError

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")

IMAGES, VIEWS = 24, 3


@pytest.fixture
def viewed(toy_cache: Any, member: Any, tmp_path: Path) -> Any:
    """``viewed(**options)``: a member on a cache with three views of each training image."""
    path = replace(toy_cache, views=VIEWS).write(tmp_path / "viewed")
    return lambda **options: member(**({"cache": str(path), "views": VIEWS} | options))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A list that grows by the positions of each batch read from a split of views."""
    found: list[np.ndarray] = []
    original = CachedActivations.read

    def noting(source: CachedActivations, indices: np.ndarray) -> Any:
        if source.split.name == f"train-views{VIEWS}":
            found.append(indices)
        return original(source, indices)

    monkeypatch.setattr(CachedActivations, "read", noting)
    return found


def test_every_epoch_shows_each_image_once_in_some_view(
    viewed: Any, read: list[np.ndarray], tmp_path: Path
) -> None:
    epochs = 4
    adapt(viewed(epochs=epochs, batch_size=10, residency="stream"), tmp_path / "run")
    # The first reading finds out how many images to compute at once.
    shown = np.concatenate(read[-3 * epochs :]).reshape(epochs, IMAGES)
    assert (np.sort(shown % IMAGES) == np.arange(IMAGES)).all()
    assert set((shown // IMAGES).ravel().tolist()) == {0, 1, 2}
    views = [dict(zip((epoch % IMAGES).tolist(), (epoch // IMAGES).tolist(), strict=True)) for epoch in shown]
    assert views[0] != views[1]


def test_labels_go_with_the_images(toy_data: Any, make_features: Any) -> None:
    data: LabelledActivations = toy_data(make_features(), 30)
    data = replace(data, images=replace(data.images, views=3, stride=100))
    drawn = data.with_drawn_views(data_seed=0, epoch=1).images
    assert (drawn.positions % 100 == np.arange(30)).all()
    assert np.unique(drawn.positions // 100).tolist() == [0, 1, 2]
    assert np.array_equal(drawn.labels, data.images.labels)
    assert sorted(data.images.all_positions.tolist()) == [*range(30), *range(100, 130), *range(200, 230)]


def test_one_view_is_the_split_itself(toy_data: Any, make_features: Any) -> None:
    images = toy_data(make_features()).images
    assert images.with_drawn_views(data_seed=0, epoch=1) is images


def test_codes_in_memory_give_the_same(viewed: Any, tmp_path: Path) -> None:
    runs = [adapt(viewed(residency=place), tmp_path / place) for place in ("stream", "ram")]
    assert runs[0].train_loss == runs[1].train_loss
    assert runs[0].accuracy == runs[1].accuracy
    assert runs[1].residency == "ram"


def test_views_are_another_training(viewed: Any, tmp_path: Path) -> None:
    several, one = adapt_all([Job(viewed(), tmp_path / "several"), Job(viewed(views=1), tmp_path / "one")])
    assert isinstance(several, MemberSummary)
    assert isinstance(one, MemberSummary)
    assert several.train_loss != one.train_loss
    assert several.cache["splits"].keys() == {f"train-views{VIEWS}", "test"}
    assert one.cache["splits"].keys() == {"train", "test"}


def test_a_resumed_training_draws_the_same_views(viewed: Any, tmp_path: Path, monkeypatch: Any) -> None:
    straight = adapt(viewed(epochs=4), tmp_path / "straight")
    config = viewed(epochs=4, checkpoint_seconds=0)
    epoch = Trainer.epoch

    def stopping(trainer: Trainer, number: int, *arguments: Any) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return epoch(trainer, number, *arguments)

    monkeypatch.setattr(Trainer, "epoch", stopping)
    with pytest.raises(KeyboardInterrupt):
        adapt(config, tmp_path / "resumed")
    monkeypatch.setattr(Trainer, "epoch", epoch)
    assert adapt(config, tmp_path / "resumed").train_loss == straight.train_loss


def test_an_image_without_all_its_views_is_left_out(
    toy_cache: Any, viewed: Any, read: list[np.ndarray], tmp_path: Path
) -> None:
    broken = replace(
        toy_cache, views=VIEWS, invalid=frozenset({"train/003.png?view=2&crop=0.5&flip=0"})
    ).write(tmp_path / "broken")
    adapt(viewed(cache=str(broken), epochs=2, residency="stream"), tmp_path / "run")
    assert set(np.concatenate(read) % IMAGES) == set(range(IMAGES)) - {3}


def test_views_that_are_not_there(member: Any, viewed: Any, tmp_path: Path) -> None:
    for config in (member(views=2), viewed(views=2)):
        with pytest.raises(
            LosaError, match=r"no split 'train-views2'.*with splits=\[train\] views=2, adds what is missing"
        ):
            adapt(config, tmp_path / "run")
    with pytest.raises(LosaError, match="no split 'absent'"):
        adapt(member(views=2, train_split="absent"), tmp_path / "run")


def test_a_split_of_that_name_with_other_images(toy_cache: Any, member: Any, tmp_path: Path) -> None:
    splits = {**toy_cache.splits, "train-views3": IMAGES * VIEWS}
    path = replace(toy_cache, splits=splits).write(tmp_path / "other")
    with pytest.raises(LosaError, match="does not hold 3 views of each of its images"):
        adapt(member(cache=str(path), views=VIEWS), tmp_path / "run")


def test_scoring_what_was_trained_on_is_still_noticed(
    viewed: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    adapt(viewed(eval_split=["test", "train"]), tmp_path / "run")
    assert f"{IMAGES} of {IMAGES} images of train are also trained on" in caplog.text


def test_the_views_may_be_scored_themselves(viewed: Any, tmp_path: Path) -> None:
    found = adapt(viewed(eval_split=["test", f"train-views{VIEWS}"]), tmp_path / "run")
    assert found.scores[f"train-views{VIEWS}"]["label"].images == IMAGES * VIEWS


def test_a_cache_knows_its_views(toy_cache: Any, tmp_path: Path) -> None:
    cache = Cache(replace(toy_cache, views=VIEWS).write(tmp_path / "cache"))
    assert len(cache.split("train-views3")) == IMAGES * VIEWS
