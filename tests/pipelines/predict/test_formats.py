import csv
import io
import json

import pytest

from losa.pipelines.classifier.prediction import LikelyClass, Prediction
from losa.pipelines.predict.formats import CsvRows, JsonLines, text_format
from losa.pipelines.predict.table import PredictionTable

NASTY = 'a, "b"\n[red]\x1b[2J'
FOUND = [
    Prediction(NASTY, side, "pet", (LikelyClass("cat", 3, 0.75), LikelyClass("dog, big", 1, 1 / 3)))
    for side in ("losa", "last")
]


def test_csv_has_a_row_for_each_class_and_texts_as_they_are() -> None:
    rows = list(csv.DictReader(io.StringIO(CsvRows.head + CsvRows().of_image(NASTY, FOUND), newline="")))
    assert len(rows) == 4
    assert rows[3] == {
        "image": NASTY,
        "side_network": "last",
        "column": "pet",
        "place": "2",
        "class": "dog, big",
        "number": "1",
        "probability": "0.333333",
    }


def test_json_has_a_line_for_each_image() -> None:
    text = JsonLines().of_image(NASTY, FOUND)
    assert (text.count("\n"), text.isascii()) == (1, True)
    content = json.loads(text)
    assert content["image"] == NASTY
    assert content["predictions"] == [each.to_json() for each in FOUND]


@pytest.mark.parametrize(
    ("name", "kind"), [("csv", CsvRows), ("json", JsonLines), ("table", PredictionTable)]
)
def test_the_format_of_a_name(name, kind, networks_of) -> None:
    assert isinstance(text_format(name, networks_of({"losa": {"pet": ["cat"]}}), [], None), kind)
