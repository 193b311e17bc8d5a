from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losa.adapt import load_side_network
from losa.cache_format import Cache, LosaError
from losa.extract.sources import StoredImage
from losa.extract.sources.digits import DigitsSource
from losa.pipelines.report.configurations import Task, tasks_of
from losa.pipelines.report.hardest import hardest_images
from losa.pipelines.report.inputs import read_members
from losa.pipelines.report.thumbnails import Thumbnails


@pytest.fixture(scope="module")
def swept(command: Callable[..., Any], extracted: Path) -> Path:
    """The folder with ``cache``, and ``runs/hardest`` with two seeds of a probe."""
    options = (
        "-m cache=cache out=runs/hardest side=linear seed=0,1 epochs=1 train_split=train800 eval_split=val200"
    )
    finished = command(extracted, "losa-adapt", *options.split())
    assert finished.returncode == 0, finished.stderr
    return extracted


@pytest.fixture
def task(swept: Path) -> Task:
    (found,) = tasks_of(read_members([str(swept / "runs/hardest")]))
    return found


def test_the_lowest_mean_probabilities_of_the_true_class(task: Task, swept: Path) -> None:
    (found,) = hardest_images(task, 5, "cpu", Thumbnails([DigitsSource()]))
    assert task.best is not None
    cache = Cache(swept / "cache")
    split = cache.split("val200", ["block.11"] if "block.11" in cache.sites else cache.sites[-1:])
    scores = [
        load_side_network(member.folder).scores(split[:])["label"].softmax(dim=-1).numpy()
        for member in task.best.members
        if member.folder is not None
    ]
    mean, labels = np.mean(scores, axis=0), split.labels("label")
    of_true = mean[np.arange(len(labels)), labels]
    order = np.argsort(of_true)[:5]
    assert [image.key for image in found.images] == [split.keys[row] for row in order]
    assert [image.true_probability for image in found.images] == pytest.approx(of_true[order], rel=1e-4)
    assert [image.predicted for image in found.images] == [
        str(number) for number in mean[order].argmax(axis=1)
    ]
    assert (found.judged, found.wrong) == (len(labels), int((mean.argmax(axis=1) != labels).sum()))
    assert all(image.thumbnail for image in found.images)


def test_images_that_have_changed_have_no_picture(task: Task) -> None:
    class OtherImages:
        def read(self, key: str) -> StoredImage:
            return DigitsSource().read("digit/0000")

    (found,) = hardest_images(task, 2, "cpu", Thumbnails([OtherImages()]))
    assert [image.thumbnail for image in found.images if image.key != "digit/0000"] == [None, None]


def test_a_cache_that_is_gone_is_told(task: Task, swept: Path) -> None:
    (swept / "cache").rename(swept / "elsewhere")
    try:
        with pytest.raises(LosaError, match="there is no folder cache"):
            hardest_images(task, 2, "cpu", Thumbnails([]))
    finally:
        (swept / "elsewhere").rename(swept / "cache")
