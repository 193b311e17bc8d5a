from losa.pipelines.report.charts.confusion import MOST_CLASSES, confusion_chart
from losa.pipelines.report.confusions import ClassConfusion


def test_shares_of_the_true_class() -> None:
    counts = {(0, 0): 3, (0, 1): 1, (1, 1): 5}
    spec = confusion_chart(ClassConfusion(column="label", counts=counts, names=["cat", "dog"]))
    assert spec is not None
    found = [tuple(row.values()) for row in spec["datasets"]["data"]]
    assert found == [("cat", "cat", 3, 0.75), ("cat", "dog", 1, 0.25), ("dog", "dog", 5, 1.0)]
    assert spec["encoding"]["x"]["scale"]["domain"] == ["cat", "dog"]


def test_classes_of_one_name_are_told_apart() -> None:
    spec = confusion_chart(
        ClassConfusion(column="label", counts={(0, 1): 1, (2, 2): 1}, names=["cat"] * 2 + ["dog"])
    )
    assert spec is not None
    assert spec["encoding"]["y"]["scale"]["domain"] == ["cat (0)", "cat (1)", "dog"]


def test_many_classes_are_not_drawn() -> None:
    counts = {(number, number): 1 for number in range(MOST_CLASSES + 1)}
    assert confusion_chart(ClassConfusion(column="label", counts=counts, names=None)) is None
