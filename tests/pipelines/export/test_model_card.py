import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml

from losa.adapt import AdaptConfig, MemberSummary, TrainedSideNetwork
from losa.cache_format import LabelColumn
from losa.pipelines.export.model_card import model_card


def test_it_tells_what_the_side_networks_are_and_how_to_load_them(
    trained: dict[str, TrainedSideNetwork], tmp_path: Path
) -> None:
    card = model_card(trained, dict.fromkeys(trained, tmp_path), "hf-hub:me/birds")
    head = yaml.safe_load(card.split("---")[1])
    assert head == {
        "library_name": "losa",
        "pipeline_tag": "image-classification",
        "tags": ["losa", "side-network"],
    }
    assert "# license:" in card
    assert "# birds\n" in card
    assert "2 side networks for the frozen backbone test_vit" in card
    assert trained["probe"].backbone.weights_sha256 in card
    assert 'classifier = load("hf-hub:me/birds")' in card
    assert "With `ensemble=True`, `load` averages" in card
    assert "| relay | side=relay rank=4 norm=frozen pool=cls probe_share=0 |" in card
    assert '["ant", "bee", "cat"]' in card
    assert "colour, 2 classes" in card


def test_accuracy_and_data_set_are_those_of_the_summary(
    trained: dict[str, TrainedSideNetwork],
    make_summary: Callable[..., MemberSummary],
    tmp_path: Path,
) -> None:
    summary = make_summary(
        AdaptConfig(cache="c"), accuracy={"test": 0.9471}, cache={"dataset": "sign_digits", "backbone": "x"}
    )
    (tmp_path / "summary.json").write_text(json.dumps(summary.to_json()))
    card = model_card({"probe": trained["probe"]}, {"probe": tmp_path}, "birds")
    assert "| sign_digits | 94.7 % on test |" in card
    assert "ensemble" not in card
    (tmp_path / "summary.json").write_text("no summary")
    assert "94.7 %" not in model_card({"probe": trained["probe"]}, {"probe": tmp_path}, "birds")


def test_a_backbone_on_the_hub_is_linked(trained: dict[str, TrainedSideNetwork], tmp_path: Path) -> None:
    probe = trained["probe"]
    probe = replace(probe, backbone=replace(probe.backbone, name="hf-hub:timm/vit.x", architecture="vit"))
    card = model_card({"probe": probe}, {"probe": tmp_path}, "birds")
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "timm/vit.x"


def test_text_from_data_is_no_markup(trained: dict[str, TrainedSideNetwork], tmp_path: Path) -> None:
    column = LabelColumn(name="label", num_classes=2, classes=("```\n# d", "<b>"))
    probe = replace(trained["probe"], columns=(column,))
    card = model_card({"x|<y>": probe}, {"x|<y>": tmp_path}, 'a"b')
    assert r"| x\|\<y\> |" in card
    assert "\n# d" not in card
    assert r'load("a\"b")' in card
    assert len(re.findall(r"^```", card, re.MULTILINE)) == 4
