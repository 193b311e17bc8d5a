import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from losa.adapt import TrainedSideNetwork
from losa.adapt.side_networks import SIDE_NETWORKS
from losa.cache_format import LabelColumn, LosaError
from losa.extract import FrozenBackbone
from losa.pipelines.classifier.model import Classifier
from losa.pipelines.export.graph import ClassifierGraph, drawn_images, trace
from losa.pipelines.export.onnx_file import OnnxFile

COLUMNS = (
    LabelColumn(name="label", num_classes=3),
    LabelColumn(name="linear", num_classes=2),  # as a value within the graph is called
    LabelColumn(name="images", num_classes=2),  # as the input is called
)


def export(classifier: Classifier, path: Path) -> None:
    graph = ClassifierGraph(classifier)
    OnnxFile().save(trace(graph), tuple(output.name for output in graph.outputs), path)


@pytest.fixture(scope="module")
def awkward(backbone: FrozenBackbone, make_trained: Any, make_classifier: Any) -> Classifier:
    relay = make_trained(backbone, "relay", COLUMNS, sites=["block.00", "block.05"])
    classifier: Classifier = make_classifier(backbone, {"relay": relay})
    return classifier


@pytest.fixture(scope="module")
def exported(awkward: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(awkward, path)
    return path


@pytest.mark.long
def test_scores_are_those_of_the_classifier_for_any_number_of_images(
    exported: Path, awkward: Classifier, scores_of: Callable[..., list[torch.Tensor]]
) -> None:
    run = OnnxFile().load(exported)
    for number in (1, 3, 8):
        images = drawn_images(awkward.networks.preprocessing, number)
        found = run(images)
        assert list(found) == ["label", "linear", "relay/images"]
        for scores, expected in zip(found.values(), scores_of(awkward, images), strict=True):
            torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_names_of_inputs_outputs_and_axes_are_plain_and_no_other_value_has_them(exported: Path) -> None:
    import onnx

    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    (images,) = model.graph.input
    assert images.name == "images"
    assert [axis.dim_param or axis.dim_value for axis in images.type.tensor_type.shape.dim] == [
        "batch",
        3,
        32,
        32,
    ]
    for output, classes in zip(model.graph.output, (3, 2, 2), strict=True):
        assert [axis.dim_param or axis.dim_value for axis in output.type.tensor_type.shape.dim] == [
            "batch",
            classes,
        ]
    values = [name for node in model.graph.node for name in node.output]
    assert len(values) == len(set(values))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_every_kind_of_side_network_is_converted(
    name: str,
    make_backbone: Any,
    make_trained: Any,
    make_classifier: Any,
    scores_of: Callable[..., list[torch.Tensor]],
    tmp_path: Path,
) -> None:
    backbone = make_backbone(name, 32 if name == "test_vit" else None)
    sites = backbone.sites[-2:] if name == "test_vit" else backbone.sites[-1:]
    trained: dict[str, TrainedSideNetwork] = {
        side: make_trained(backbone, side, sites=sites, pool="mean") for side in SIDE_NETWORKS
    }
    trained["losa-layer"] = make_trained(backbone, "losa", sites=sites, pool="mean", norm="layer", bias=True)
    classifier = make_classifier(backbone, trained)
    export(classifier, tmp_path / "model.onnx")
    run = OnnxFile().load(tmp_path / "model.onnx")
    for number in (1, 8):
        images = drawn_images(backbone.preprocessing, number)
        for scores, expected in zip(run(images).values(), scores_of(classifier, images), strict=True):
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_extra_is_told_with_the_command_that_installs_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LosaError, match=r"ONNX files need .*: pip install 'losa\[onnx\]'"):
        OnnxFile().prepare()


def test_what_cannot_be_converted_is_told(
    awkward: Classifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def convert(*arguments: object, **options: object) -> None:
        raise RuntimeError("no translation of aten.odd")

    monkeypatch.setattr(torch.onnx, "export", convert)
    with pytest.raises(LosaError, match=r"cannot convert the model: .*aten\.odd\n.*to=<name>\.pt2"):
        OnnxFile().save(None, ("label",), tmp_path / "model.onnx")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
