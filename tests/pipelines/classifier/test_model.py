import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from losa.adapt import load_side_network
from losa.cache_format import LabelColumn, LosaError
from losa.extract.sources import InvalidImage
from losa.pipelines import Classifier, load
from losa.pipelines.classifier import model as module

TWO = (
    LabelColumn(name="pet", num_classes=3, classes=("cat", "dog", "fish")),
    LabelColumn(name="age", num_classes=2),
)


@pytest.fixture(scope="module")
def classifier(runs: Path) -> Classifier:
    return load(runs, device="cpu")


@pytest.fixture(scope="module")
def photo(paint_photo, tmp_path_factory) -> Path:
    return paint_photo(tmp_path_factory.mktemp("photos") / "a.png")


def test_scores_are_those_of_each_network_on_the_backbones_activations(classifier, runs, photo) -> None:
    images = torch.stack([classifier.preprocess(photo)] * 2)
    found = classifier(images)
    activations = classifier._frozen_backbone.activations(images, classifier.networks.sites)
    assert list(found) == ["linear-two", "losa-one"]
    for name, columns in found.items():
        expected = load_side_network(runs / name).scores(activations)
        assert columns.keys() == expected.keys() == {"pet"}
        torch.testing.assert_close(columns["pet"], expected["pet"], atol=1e-6, rtol=1e-6)


def test_a_path_bytes_and_pixels_are_one_image(classifier, photo, monkeypatch) -> None:
    given = [photo, str(photo), photo.read_bytes(), Image.open(photo)]
    found = classifier.predict(given)
    assert [each.image for each in found[::2]] == [str(photo), str(photo), "image 2", "image 3"]
    assert len({each.classes for each in found[::2]}) == 1
    monkeypatch.setenv("HOME", str(photo.parent))
    assert classifier.predict([f"~/{photo.name}"])[0].classes == found[0].classes


def test_predictions_come_image_by_image_in_batches_without_listing_the_images(
    classifier, photo, monkeypatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    taken = []

    def images():
        for number in range(5):
            taken.append(number)
            yield photo

    found = classifier._predict(images(), 1)
    next(found)
    assert taken == [0, 1]
    assert len([*found]) == 9


def test_columns_are_told_apart(make_run, photo, tmp_path: Path) -> None:
    classifier = load(make_run(tmp_path / "run", columns=TWO), device="cpu")
    pet, age = classifier.predict([photo], top=2)
    assert (pet.column, len(pet.classes), age.column, age.best.name in "01") == ("pet", 2, "age", True)
    assert {name: part.shape[1] for name, part in classifier(torch.zeros(1, 3, 160, 160))["run"].items()} == {
        "pet": 3,
        "age": 2,
    }


def test_the_recorded_preprocessing_is_applied(make_run, photo, tmp_path: Path) -> None:
    plain = load(make_run(tmp_path / "plain"), device="cpu").preprocess(photo)
    shifted = load(make_run(tmp_path / "shifted", mean=(0.0, 0.0, 0.0)), device="cpu").preprocess(photo)
    assert plain.shape == shifted.shape == (3, 160, 160)
    assert (shifted > plain).all()


def test_an_image_that_cannot_be_read_is_named(classifier, photo, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    with pytest.raises(InvalidImage, match=r"text\.jpg: not an image in a format that Pillow knows"):
        classifier.predict([photo, text])
    with pytest.raises(InvalidImage, match="image 1: not an image"):
        classifier.predict([photo, b"hello"])
    with pytest.raises(InvalidImage, match=r"nowhere\.png: No such file"):
        classifier.predict([tmp_path / "nowhere.png"])
    with pytest.raises(LosaError, match="Is a directory"):
        classifier.predict([tmp_path])


@pytest.mark.parametrize(
    "one",
    ["photo.jpg", Path("photo.jpg"), b"bytes", Image.new("RGB", (2, 2))],
    ids=["text", "path", "bytes", "image"],
)
def test_one_image_alone_is_refused(classifier, one) -> None:
    with pytest.raises(LosaError, match=r"predict\(\[image\]\)"):
        classifier.predict(one)


def test_no_classes_are_refused(classifier, photo) -> None:
    with pytest.raises(LosaError, match="top=0: expected"):
        classifier.predict([photo], top=0)
    assert classifier.predict([]) == []


def test_the_limit_of_pixels_is_passed_on(runs, photo) -> None:
    with pytest.raises(InvalidImage, match="more than max_pixels=100"):
        load(runs, device="cpu", max_pixels=100).predict([photo])


def test_nothing_is_trained(classifier) -> None:
    assert not classifier.training
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_side_networks_of_different_preprocessing_are_refused(make_run, runs, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", crop_pct=0.5)
    with pytest.raises(LosaError, match=r"losa-one\sand other differ in\n  preprocessing\.crop_pct"):
        load([runs / "losa-one", other])


def test_the_options_of_the_backbone_are_passed_on(runs, tmp_path: Path) -> None:
    with pytest.raises(LosaError, match="weights_sha256"):
        load(runs, seed=1)
    with pytest.raises(LosaError, match="found test_vit2"):
        load(runs, backbone="test_vit2")
    with pytest.raises(LosaError, match="there is no file"):
        load(runs, checkpoint=tmp_path / "none.safetensors")
    with pytest.raises(LosaError, match="expected auto, cpu, cuda"):
        load(runs, device="toaster")


def test_damaged_tensors_are_told(make_run, tmp_path: Path) -> None:
    file = make_run(tmp_path / "run") / "side_network.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(LosaError, match=r"side_network\.safetensors is damaged"):
        load(tmp_path)


def test_importing_the_package_imports_no_torch() -> None:
    program = "import sys, losa.pipelines; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
