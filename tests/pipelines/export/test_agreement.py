from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from losa.cache_format import LosaError
from losa.extract.sources import InvalidImage
from losa.pipelines.classifier.model import Classifier
from losa.pipelines.export.agreement import TOLERANCE, compare
from losa.pipelines.export.graph import ClassifierGraph


class Shifted:
    """Runs a graph, and adds a part of the spread of an output to its first class."""

    def __init__(self, graph: ClassifierGraph, name: str = "", part: float = 0.0) -> None:
        self.graph, self.name, self.part = graph, name, part
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> Mapping[str, Tensor]:
        self.sizes.append(len(images))
        found = self.graph(images)
        if self.name:
            scores = found[self.name]
            scores[:, 0] += self.part * (scores.max() - scores.min() if len(images) > 1 else 0)
        return found


@pytest.fixture
def graph(classifier: Classifier) -> ClassifierGraph:
    return ClassifierGraph(classifier)


def test_equal_scores_agree_one_by_one_and_eight_at_once(graph: ClassifierGraph, tmp_path: Path) -> None:
    files = [str(tmp_path / f"{number}.png") for number in range(9)]
    for file in files:
        Image.new("RGB", (40, 30), "red").save(file)
    run = Shifted(graph)
    agreement = compare(graph, run, files)
    assert run.sizes == [*[1] * 8, 8, *[1] * 8, 8, 1, 1]
    assert agreement.images == 9
    assert agreement.same_class == 1
    assert agreement.largest_difference < 1e-5


def test_rounding_is_within_the_tolerance(graph: ClassifierGraph) -> None:
    agreement = compare(graph, Shifted(graph, "relay/colour", 0.3 * TOLERANCE), [])
    assert 0.1 * TOLERANCE < agreement.largest_difference < TOLERANCE


@pytest.mark.parametrize("part", [3 * TOLERANCE, float("nan")])
def test_other_scores_are_refused_by_the_name_of_the_output(graph: ClassifierGraph, part: float) -> None:
    with pytest.raises(LosaError, match=r"class scores of relay/colour in the file.*expected at most 1e-04"):
        compare(graph, Shifted(graph, "relay/colour", part), [])


def test_an_image_that_cannot_be_read_is_named(graph: ClassifierGraph, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(InvalidImage, match=r"text.jpg: not an image .* leave it out of images="):
        compare(graph, Shifted(graph), [str(tmp_path / "text.jpg")])


def test_the_scores_of_a_single_class_may_all_be_equal(
    graph: ClassifierGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ClassifierGraph,
        "forward",
        lambda self, images: {output.name: torch.ones(len(images), 1) for output in self.outputs},
    )
    assert compare(graph, Shifted(graph), []).largest_difference == 0
