import numpy as np
import pytest

from losa.cache_format import LabelColumn, LosaError
from losa.pipelines.evaluation.label_matching import matched_labels

PETS = LabelColumn(name="pet", num_classes=3, classes=("cat", "dog", "emu"))
LABELS = {"pet": np.array([0, 1, -1, 2])}


def test_classes_are_matched_by_name_in_any_order() -> None:
    images = LabelColumn(name="pet", num_classes=3, classes=("emu", "cat", "dog"))
    assert matched_labels("net", PETS, [images], LABELS).tolist() == [2, 0, -1, 1]


def test_images_of_some_of_the_classes() -> None:
    images = LabelColumn(name="pet", num_classes=2, classes=("dog", "emu"))
    assert matched_labels("net", PETS, [images], {"pet": np.array([0, 1])}).tolist() == [1, 2]


def test_an_unknown_class_that_does_not_occur_is_no_matter() -> None:
    images = LabelColumn(name="pet", num_classes=4, classes=("yak", "cat", "dog", "emu"))
    assert matched_labels("net", PETS, [images], {"pet": np.array([3, -1])}).tolist() == [2, -1]


def test_classes_without_names_are_matched_by_number() -> None:
    images = LabelColumn(name="pet", num_classes=3)
    assert matched_labels("net", PETS, [images], LABELS).tolist() == [0, 1, -1, 2]


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (
            LabelColumn(name="pet", num_classes=3, classes=("cat", "dog", "yak")),
            "than side network net:\n  side network: cat, dog, emu\n  images: cat, dog, yak",
        ),
        (LabelColumn(name="pet", num_classes=4), "  images: 4 without names"),
        (LabelColumn(name="breed", num_classes=3), "label column 'pet'; the images have: breed"),
        (LabelColumn(name="pet", num_classes=0), "label column 'pet'; the images have: none"),
    ],
)
def test_other_labels_are_refused(images: LabelColumn, told: str) -> None:
    with pytest.raises(LosaError) as caught:
        matched_labels("net", PETS, [images], LABELS)
    assert told in str(caught.value)
