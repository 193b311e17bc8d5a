"""What many jobs have in common is read, hashed and compared once."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losa.adapt.data.labelled_images import LabelledImages
from losa.adapt.members import preparation
from losa.adapt.members.job import Job
from losa.adapt.members.preparation import JobPreparer
from losa.cache_format import LosaError

pytestmark = pytest.mark.usefixtures("shapes_are_not_checked")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the labels of whole splits are gone through."""
    counted: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        function = getattr(preparation, name)

        def call(*arguments: Any) -> Any:
            counted[name] += 1
            return function(*arguments)

        return call

    for name in (
        "hash_array",
        "read_labelled_images",
        "tell_unused_classes",
        "warn_of_unseen_classes",
        "_refuse_one_class",
    ):
        monkeypatch.setattr(preparation, name, counting(name))
    return counted


def test_the_work_on_labels_does_not_grow_with_the_jobs(
    member: Any, tmp_path: Path, calls: Counter[str]
) -> None:
    counts = []
    for jobs in (1, 50):
        calls.clear()
        preparer = JobPreparer()
        configs = [member(seed=seed, val_split="val") for seed in range(jobs)]
        prepared = [preparer.prepare(Job(config, tmp_path / config.member_name)) for config in configs]
        assert all(each.origin == prepared[0].origin for each in prepared)
        counts.append(dict(calls))
    assert counts[0] == counts[1]
    assert counts[0]["hash_array"] == 6  # positions and labels of three splits


def test_other_splits_and_labels_are_another_origin(member: Any, tmp_path: Path) -> None:
    preparer = JobPreparer()
    origins = [
        preparer.prepare(Job(member(**options), tmp_path)).origin
        for options in ({}, {"train_split": ["train", "val"]}, {"eval_split": "val"}, {})
    ]
    assert origins[0] == origins[3]
    assert len({origin["labels_sha256"] for origin in origins}) == 3


def test_one_class_is_refused_in_every_job(
    member: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = LabelledImages(np.arange(4), np.full((4, 1), 2))
    monkeypatch.setattr(preparation, "read_labelled_images", lambda *_: images)
    preparer = JobPreparer()
    for seed in range(2):
        with pytest.raises(LosaError, match="all 4 images of split 'train' have the same label"):
            preparer.prepare(Job(member(seed=seed), tmp_path))
