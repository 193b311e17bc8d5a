"""Training on several splits together."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from losa.adapt import Job, MemberSummary, adapt, adapt_all
from losa.cache_format import LosaError

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


def test_every_image_counts_once(member: Any, toy_cache: Any, tmp_path: Path) -> None:
    cache = str(replace(toy_cache, views=3).write(tmp_path / "views"))
    splits = ["train", "val", "train-views3"]
    summary = adapt(member(cache=cache, train_split=splits), tmp_path / "run")
    assert summary.images == {"train+val+train-views3": 24 + 9 + 2 * 24, "test": 12}
    assert summary.cache["splits"].keys() == {*splits, "test"}
    assert summary.options["train_split"] == splits


@pytest.mark.parametrize("views", [1, 2])
def test_where_codes_stay_makes_no_difference(
    views: int, member: Any, toy_cache: Any, tmp_path: Path
) -> None:
    cache = str(replace(toy_cache, views=2, viewed=("train", "val")).write(tmp_path / "views"))
    options = {"cache": cache, "views": views, "train_split": ["val", "train"]}
    stream, ram = adapt_all(
        [Job(member(**options, residency=place), tmp_path / place) for place in ("stream", "ram")]
    )
    assert isinstance(stream, MemberSummary)
    assert isinstance(ram, MemberSummary)
    assert stream.train_loss == ram.train_loss
    assert 33 in stream.images.values()


def test_a_list_of_one_is_that_split(member: Any, tmp_path: Path) -> None:
    first = adapt(member(train_split="train"), tmp_path / "run")
    for same in (["train"], ["train", "train"]):
        assert adapt(member(train_split=same), tmp_path / "run") == first


def test_scoring_what_was_trained_on_is_noticed(
    member: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    adapt(member(train_split=["train", "val"], eval_split=["test", "val"]), tmp_path / "run")
    assert "9 of 9 images of val are also trained on" in caplog.text
    assert "images of test are also" not in caplog.text


def test_errors_name_the_splits_together(member: Any, tmp_path: Path) -> None:
    message = "all 33 images of split 'train.val' have the same label in column 'same'"
    with pytest.raises(LosaError, match=message):
        adapt(member(train_split=["train", "val"], label="same"), tmp_path / "run")


def test_missing_views_of_several_splits(member: Any, toy_cache: Any, tmp_path: Path) -> None:
    cache = str(replace(toy_cache, views=2).write(tmp_path / "views"))
    with pytest.raises(LosaError, match=r"no split 'val-views2'.*with splits=\[val\] views=2, adds"):
        adapt(member(cache=cache, views=2, train_split=["train", "val"]), tmp_path / "run")
