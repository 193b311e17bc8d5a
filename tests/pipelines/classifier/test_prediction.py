import json

import pytest
import torch

from losa.adapt import stack_side_networks
from losa.cache_format import LabelColumn
from losa.pipelines.classifier.prediction import LikelyClass, Prediction, by_image, class_name, predictions
from losa.pipelines.classifier.side_network_folders import load_side_networks

COLUMNS = (LabelColumn(name="pet", num_classes=3, classes=("cat", "dog", "fish")), LabelColumn(name="age", num_classes=2))


@pytest.fixture(scope="module")
def networks(make_run, tmp_path_factory):
    return stack_side_networks(
        load_side_networks([make_run(tmp_path_factory.mktemp("two") / "net", columns=COLUMNS)])
    )


def test_each_column_has_its_own_softmax_and_the_likeliest_comes_first(networks) -> None:
    scores = torch.tensor([[0.0, 2.0, 1.0, 3.0, 5.0], [9.0, 0.0, 0.0, 1.0, 0.0]])
    pet, age, pet_b, age_b = predictions(networks, ["a", "b"], [scores], top=2)
    assert [each.name for each in pet.classes] == ["dog", "fish"]
    assert pet.classes[0].probability == pytest.approx(0.66524, abs=1e-5)
    assert [(each.name, each.number) for each in age.classes] == [("1", 1), ("0", 0)]
    assert sum(each.probability for each in age.classes) == pytest.approx(1)
    assert (pet_b.image, pet_b.column, pet_b.best.name) == ("b", "pet", "cat")
    assert (age_b.side_network, age_b.column, age_b.best.number) == ("net", "age", 0)


def test_more_classes_than_there_are_give_all(networks) -> None:
    pet, age = predictions(networks, ["a"], [torch.zeros(1, 5)], top=100)
    assert (len(pet.classes), len(age.classes)) == (3, 2)


def test_scores_in_half_precision_give_probabilities_in_float32(networks) -> None:
    pet, _ = predictions(networks, ["a"], [torch.zeros(1, 5, dtype=torch.bfloat16)], top=3)
    assert pet.best.probability == pytest.approx(1 / 3, abs=1e-7)


def test_predictions_are_grouped_by_image() -> None:
    found = [Prediction(image, side, "pet", ()) for image in "ab" for side in "xy"]
    assert [(image, len(group)) for image, group in by_image(iter(found))] == [("a", 2), ("b", 2)]


def test_as_json() -> None:
    prediction = Prediction("a", "losa", "pet", (LikelyClass("cat", 0, 0.123456789),))
    assert json.loads(json.dumps(prediction.to_json())) == {
        "side_network": "losa",
        "column": "pet",
        "classes": [{"name": "cat", "number": 0, "probability": 0.123457}],
    }


def test_classes_without_names_are_told_by_number() -> None:
    assert [class_name(column, 1) for column in COLUMNS] == ["dog", "1"]
