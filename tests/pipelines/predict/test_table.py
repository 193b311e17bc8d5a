from losa.pipelines.classifier.prediction import LikelyClass, Prediction
from losa.pipelines.predict.table import PredictionTable

PETS = {"pet": ["cat", "goldfish"]}


def prediction(image: str, side: str = "losa", column: str = "pet", **likely: float) -> Prediction:
    classes = tuple(LikelyClass(name, 0, probability) for name, probability in likely.items())
    return Prediction(image, side, column, classes)


def test_one_side_network_has_a_line_for_each_image(networks_of) -> None:
    table = PredictionTable(networks_of({"losa": PETS}), ["a.jpg", "bcd.jpg"], None)
    text = table.of_image("a.jpg", [prediction("a.jpg", cat=0.9, goldfish=0.1)])
    text += table.of_image("bcd.jpg", [prediction("bcd.jpg", goldfish=1.0, cat=0.0)])
    assert text == (
        "a.jpg     cat       90.0 %   goldfish  10.0 %\n"
        "bcd.jpg   goldfish 100.0 %   cat        0.0 %\n"
    )


def test_several_have_a_heading_for_each_image(networks_of) -> None:
    table = PredictionTable(networks_of({"losa": PETS, "linear": PETS}), ["a.jpg", "b.jpg"], None)
    found = [prediction("a.jpg", cat=0.9), prediction("a.jpg", "linear", goldfish=0.5)]
    assert table.of_image("a.jpg", found) == (
        "a.jpg\n"
        "  losa     cat       90.0 %\n"
        "  linear   goldfish  50.0 %\n"
    )  # fmt: skip
    assert table.of_image("b.jpg", found[:1]) == "\nb.jpg\n  losa     cat       90.0 %\n"


def test_several_label_columns_are_told_apart(networks_of) -> None:
    table = PredictionTable(networks_of({"losa": {**PETS, "colour": ["red"]}}), ["a.jpg"], None)
    found = [prediction("a.jpg", cat=0.9), prediction("a.jpg", column="colour", red=1.0)]
    assert table.of_image("a.jpg", found) == (
        "a.jpg\n"
        "  pet      cat       90.0 %\n"
        "  colour   red      100.0 %\n"
    )  # fmt: skip


def test_classes_that_a_line_has_no_room_for_stand_below_the_first(networks_of) -> None:
    found = [prediction("a.jpg", cat=0.5, goldfish=0.25, dog=0.125)]
    table = PredictionTable(networks_of({"losa": PETS}), ["a.jpg"], 45)
    assert table.of_image("a.jpg", found) == (
        "a.jpg   cat       50.0 %   goldfish  25.0 %\n"
        "        dog       12.5 %\n"
    )  # fmt: skip
    narrow = PredictionTable(networks_of({"losa": PETS}), ["a.jpg"], 10).of_image("a.jpg", found)
    assert [line.split()[-3:-2] for line in narrow.splitlines()] == [["cat"], ["goldfish"], ["dog"]]


def test_a_long_path_becomes_a_heading(networks_of) -> None:
    path = "photographs/of/last/summer/in/the/mountains/1.jpg"
    table = PredictionTable(networks_of({"losa": PETS}), [path, "a.jpg"], None)
    assert table.of_image(path, [prediction(path, cat=1.0)]) == f"{path}\n  cat      100.0 %\n"


def test_names_of_classes_are_padded_within_reason(networks_of) -> None:
    classes = {"pet": ["cat", "a name of a class that goes on and on"]}
    text = PredictionTable(networks_of({"losa": classes}), ["a.jpg"], None).of_image(
        "a.jpg", [prediction("a.jpg", cat=0.5)]
    )
    assert text == f"a.jpg   cat{' ' * 17}  50.0 %\n"


def test_texts_from_data_cannot_steer_the_terminal_nor_break_the_table(networks_of) -> None:
    image = "[bold]a\n\x1b[2J\udcff.jpg"
    table = PredictionTable(networks_of({"losa": {"pet": ["[red]\tc"]}}), [image], None)
    (line,) = table.of_image(image, [prediction(image, **{"[red]\tc": 1.0})]).splitlines()
    assert line == r"[bold]a\n\x1b[2J\udcff.jpg   [red]\tc 100.0 %"


def test_wide_characters_take_two_cells(networks_of) -> None:
    table = PredictionTable(networks_of({"losa": {"pet": ["猫", "fish"]}}), ["a"], None)
    text = table.of_image("a", [prediction("a", **{"猫": 0.5, "fish": 0.5})])
    assert text == "a   猫    50.0 %   fish  50.0 %\n"
