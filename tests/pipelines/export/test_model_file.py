import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from losa.adapt import TrainedSideNetwork
from losa.cache_format import LosaError
from losa.pipelines.classifier.model import Classifier
from losa.pipelines.export import model_file
from losa.pipelines.export.graph import ClassifierGraph, Images, drawn_images
from losa.pipelines.export.model_file import write_model
from losa.pipelines.export.model_format import Run
from losa.pipelines.export.torch_file import TorchFile


@pytest.fixture
def untraced(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """A classifier whose file is a text; reading it gives the classifier again."""
    graph = ClassifierGraph(classifier)

    def save(self: TorchFile, program: object, names: tuple[str, ...], path: Path) -> None:
        path.write_text("a model")
        path.with_name(f"{path.name}.data").write_text("weights")

    def load(self: TorchFile, path: Path) -> Run:
        assert path.read_text() == "a model"
        return graph

    monkeypatch.setattr(model_file, "trace", lambda graph: None)
    monkeypatch.setattr(TorchFile, "save", save)
    monkeypatch.setattr(TorchFile, "load", load)
    return classifier


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_model_comes_with_its_other_files(
    untraced: Classifier, trained: dict[str, TrainedSideNetwork], tmp_path: Path
) -> None:
    path = tmp_path / "model.pt2"
    path.write_text("an older model")
    agreement = write_model(path, untraced, trained, [])
    assert names(tmp_path) == ["model.pt2", "model.pt2.data", "model.pt2.json"]
    assert path.read_text() == "a model"
    description = json.loads(path.with_name("model.pt2.json").read_text())
    assert description["check"]["largest_difference"] == agreement.largest_difference < 1e-5


def test_a_model_that_does_something_else_is_not_written(
    untraced: Classifier,
    trained: dict[str, TrainedSideNetwork],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def other(images: Images) -> dict[str, torch.Tensor]:
        return {name: -scores for name, scores in ClassifierGraph(untraced)(images).items()}

    monkeypatch.setattr(TorchFile, "load", lambda self, path: other)
    path = tmp_path / "model.pt2"
    path.write_text("an older model")
    with pytest.raises(LosaError, match=r"model\.pt2: checked and removed: the class scores of probe/label"):
        write_model(path, untraced, trained, [])
    assert names(tmp_path) == ["model.pt2"]
    assert path.read_text() == "an older model"


def test_an_image_that_cannot_be_read_stops_the_check(
    untraced: Classifier, trained: dict[str, TrainedSideNetwork], tmp_path: Path
) -> None:
    with pytest.raises(LosaError, match=r"none\.jpg"):
        write_model(tmp_path / "model.pt2", untraced, trained, [str(tmp_path / "none.jpg")])
    assert names(tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_files_of_every_format_run_without_losa(
    suffix: str,
    classifier: Classifier,
    trained: dict[str, TrainedSideNetwork],
    scores_of: Callable[..., list[torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # As if the weights were too large for one file.
    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 0)
    Image.new("RGB", (50, 40), "orange").save(tmp_path / "photo.png")
    path = tmp_path / f"model{suffix}"
    agreement = write_model(path, classifier, trained, [str(tmp_path / "photo.png")])
    assert (agreement.images, agreement.same_class) == (1, 1.0)
    data = [f"{path.name}.data"] if suffix == ".onnx" else []
    assert names(tmp_path) == [path.name, *data, f"{path.name}.json", "photo.png"]

    images = drawn_images(classifier.networks.preprocessing, 3)
    expected = scores_of(classifier, images)
    if suffix == ".pt2":
        found = list(torch.export.load(path).module()(images).values())
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        found = [torch.from_numpy(scores) for scores in session.run(None, {"images": images.numpy()})]
    for scores, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(scores, theirs, rtol=1e-5, atol=1e-5)
