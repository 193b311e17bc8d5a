import logging
from collections.abc import Callable

import numpy as np
import pytest

from losa.adapt import LabelledImages
from losa.adapt.members.class_coverage import tell_unused_classes, warn_of_unseen_classes
from losa.cache_format import LabelColumn

NAMED = (LabelColumn(name="kind", num_classes=4, classes=("ant", "bee", "cat", "dog")),)
NUMBERED = (LabelColumn(name="year", num_classes=1000),)


@pytest.fixture
def images() -> Callable[..., LabelledImages]:
    """``images(label, ...)``: images with these labels in one column."""
    return lambda *labels: LabelledImages(np.arange(len(labels)), np.array(labels)[:, None])


def test_classes_that_are_scored_but_never_trained_on_are_told(
    images: Callable[..., LabelledImages], caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_unseen_classes(NAMED, "train", images(0, 2, -1), "test", images(0, 1, 3, 3, -1))
    assert caplog.messages == [
        "3 of 4 images of test are of 2 classes without an image in train, so never right (kind: bee, dog)"
    ]


def test_classes_that_are_not_scored_are_no_loss(
    images: Callable[..., LabelledImages], caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_unseen_classes(NAMED, "train", images(0, 2), "test", images(0, 0, -1))
    assert not caplog.messages


def test_unused_classes_are_told(
    images: Callable[..., LabelledImages], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tell_unused_classes(NAMED, images(0, 1), images(2, 3, -1))
    assert not caplog.messages
    tell_unused_classes(NAMED, images(0, 1), images(1, -1))
    tell_unused_classes(NUMBERED, images(0, 5))
    assert caplog.messages == [
        "2 of the 4 classes of kind occur in none of the splits used: cat, dog",
        "998 of the 1000 classes of year occur in none of the splits used: 1, 2, 3, 4, 6, ...",
    ]
