import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from losa.adapt import TrainedSideNetwork, stack_side_networks
from losa.cache_format.identity import ImageDecoding, Preprocessing
from losa.extract import FrozenBackbone
from losa.pipelines.export.agreement import Agreement
from losa.pipelines.export.description import describe, preprocessing_steps
from losa.pipelines.export.outputs import outputs_of

PAGE = Path(__file__).parents[3] / "docs/using.md"
SIZES = [(100, 100), (37, 61), (61, 37), (160, 90), (8, 30), (33, 32), (640, 479)]
OWN = Preprocessing(
    input_size=(3, 32, 32),
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    crop_pct=0.9,
    crop_mode="center",
    decoding=ImageDecoding(exif="apply", background=(255, 255, 255)),
)
CHANGES: dict[str, dict[str, Any]] = {
    "center": {},
    "center-whole": {"crop_pct": 1.0, "interpolation": "bilinear"},
    "center-beyond": {"crop_pct": 1.3},
    "center-oblong": {"input_size": (3, 48, 32), "crop_pct": 0.875, "interpolation": "lanczos"},
    "squash": {"crop_mode": "squash"},
    "squash-oblong": {"crop_mode": "squash", "crop_pct": 1.0, "input_size": (3, 32, 48)},
    "border": {"crop_mode": "border", "crop_pct": 1.0},
    "border-cropped": {"crop_mode": "border", "crop_pct": 0.8, "interpolation": "nearest"},
    "border-oblong": {"crop_mode": "border", "crop_pct": 0.95, "input_size": (3, 32, 48)},
    "ignored": {"decoding": ImageDecoding(exif="ignore", background=(10, 200, 30))},
    "early": {"decoding": None},
}


def recipe() -> Any:
    """The function on the page."""
    (program,) = re.findall(r"```python\n(import numpy.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)
    return names["preprocess"]


def pictures(folder: Path) -> list[Path]:
    """Files of many sizes, turned, transparent, grey, and with a palette."""
    rng = np.random.default_rng(0)
    paths = []
    for wide, high in SIZES:
        picture = Image.fromarray(rng.integers(0, 256, (high, wide, 3), np.uint8))
        paths.append(folder / f"{wide}x{high}.png")
        picture.save(paths[-1])
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    others = {"turned.jpg": picture, "grey.png": picture.convert("L"), "palette.png": picture.convert("P")}
    others["transparent.png"] = Image.fromarray(rng.integers(0, 256, (50, 70, 4), np.uint8))
    for name, other in others.items():
        other.save(folder / name, **({"exif": exif} if name == "turned.jpg" else {}))
        paths.append(folder / name)
    return paths


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_recipe_on_the_page_makes_the_very_inputs(
    backbone: FrozenBackbone,
    trained: dict[str, TrainedSideNetwork],
    make_classifier: Any,
    tmp_path: Path,
    change: dict[str, Any],
) -> None:
    preprocessing = replace(OWN, **change)
    probe = replace(trained["probe"], preprocessing=preprocessing)
    classifier = make_classifier(backbone, {"probe": probe})
    steps = json.loads(json.dumps(preprocessing_steps(preprocessing)))
    preprocess = recipe()
    for picture in pictures(tmp_path):
        expected = classifier.preprocess(picture).numpy()
        found = preprocess(picture, steps)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected, err_msg=picture.name)


def test_a_description_tells_whose_scores_each_output_has(trained: dict[str, TrainedSideNetwork]) -> None:
    outputs = outputs_of(stack_side_networks(trained))
    description = describe(trained, outputs, Agreement(images=2, same_class=1.0, largest_difference=1e-7))
    assert json.loads(json.dumps(description)) == description
    assert description["input"]["shape"] == ["batch", 3, 32, 32]
    assert [output["name"] for output in description["outputs"]] == [
        "probe/label",
        "relay/label",
        "relay/colour",
    ]
    assert [output["members"] for output in description["outputs"]] == [["probe"], ["relay"], ["relay"]]
    assert description["outputs"][0]["classes"] == ["ant", "bee", "cat"]
    assert description["outputs"][2]["classes"] is None
    assert description["side_networks"]["relay"]["architecture"]["rank"] == 4
    assert description["side_networks"]["probe"]["tensors_sha256"] == trained["probe"].tensors_sha256
    assert description["backbone"]["weights_sha256"] == trained["probe"].backbone.weights_sha256
    assert description["check"] == {
        "tolerance": 1e-4,
        "images": 2,
        "same_class": 1.0,
        "largest_difference": 1e-7,
    }
